// Command pair times two commands against each other:
//
//	pair [-n N] [-cold] [-prepare COMMAND] NAME COMMAND NAME COMMAND
//
// It runs them interleaved, A B A B ..., so that a machine that grows slower or
// busier does so for both, after one untimed run of each, which -cold leaves out.
// Commands go to sh -c, and -prepare before every run, outside the clock. It prints medians of wall
// time, user and system time, and peak memory, then how A compares with B: the
// ratio of the medians, and the median and range of the ratios pair by pair,
// which says whether the difference is larger than the noise. A command that
// fails ends it all.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 7, "number of pairs")
	cold := flag.Bool("cold", false, "no untimed run before: for runs of minutes")
	prepare := flag.String("prepare", "", "command to run before each run, untimed")
	flag.Parse()
	if err := run(os.Stdout, *n, *cold, *prepare, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "pair: error: %v\n", err)
		os.Exit(1)
	}
}

// A sample is one run of a command.
type sample struct {
	wall, cpu time.Duration
	peak      int64 // bytes, of the largest process among it and its children
}

func run(out io.Writer, n int, cold bool, prepare string, args []string) error {
	if len(args) != 4 || n < 1 {
		return errors.New("usage: pair [-n N] [-cold] [-prepare COMMAND] NAME COMMAND NAME COMMAND")
	}
	var samples [2][]sample
	warm := 1 // the first warms the caches
	if cold {
		warm = 0
	}
	for i := range n + warm {
		for side := range samples {
			if prepare != "" {
				if _, err := measure(prepare); err != nil {
					return err
				}
			}
			s, err := measure(args[2*side+1])
			if err != nil {
				return err
			}
			if i >= warm {
				samples[side] = append(samples[side], s)
			}
		}
	}
	report(out, [2]string{args[0], args[2]}, samples)
	return nil
}

func measure(command string) (sample, error) {
	cmd := exec.Command("sh", "-c", command)
	cmd.Stderr = os.Stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("run %q: %w", command, err)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	peak := int64(usage.Maxrss)
	if runtime.GOOS == "linux" { // which counts in KiB
		peak <<= 10
	}
	return sample{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak}, nil
}

func report(out io.Writer, names [2]string, samples [2][]sample) {
	wall := func(s sample) float64 { return s.wall.Seconds() }
	cpu := func(s sample) float64 { return s.cpu.Seconds() }
	peak := func(s sample) float64 { return float64(s.peak) / (1 << 20) }
	fmt.Fprintf(out, "%-24s %10s %12s %10s   median of %d\n", "", "wall s", "user+sys s", "peak MiB", len(samples[0]))
	for side, name := range names {
		fmt.Fprintf(out, "%-24s %10.3f %12.3f %10.1f\n", name,
			median(samples[side], wall), median(samples[side], cpu), median(samples[side], peak))
	}
	fmt.Fprintf(out, "%-24s %10.3f %12.3f %10.2f\n", "ratio of medians",
		median(samples[0], wall)/median(samples[1], wall),
		median(samples[0], cpu)/median(samples[1], cpu),
		median(samples[0], peak)/median(samples[1], peak))
	var ratios []float64
	for i := range samples[0] {
		ratios = append(ratios, wall(samples[0][i])/wall(samples[1][i]))
	}
	self := func(r float64) float64 { return r }
	fmt.Fprintf(out, "%-24s %10.3f   range %.3f to %.3f\n", "wall, pair by pair",
		median(ratios, self), slices.Min(ratios), slices.Max(ratios))
}

// median takes the mean of the two middle values of an even number.
func median[T any](all []T, value func(T) float64) float64 {
	var values []float64
	for _, one := range all {
		values = append(values, value(one))
	}
	slices.Sort(values)
	mid := len(values) / 2
	if len(values)%2 == 1 {
		return values[mid]
	}
	return (values[mid-1] + values[mid]) / 2
}
