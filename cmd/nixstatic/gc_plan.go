package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/nixstatic/nixstatic/layout/gc"
)

func counted(s gc.Size, noun string) string {
	return plural(s.Count, noun) + ", " + bytesize(s.Bytes)
}

// printGCPlan words a plan: what keeps what, and what goes.
func printGCPlan(w io.Writer, p *gc.Plan, storeDir string, o gc.Options) {
	printRoots(w, p.Roots, shownRoots)
	if p.Withdraw.Count > 0 {
		undo := "and cannot be undone"
		if o.Undo > 0 {
			undo = "and can be undone until " + p.Undo.Local().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "goes: %s, %s\n", counted(p.Withdraw, "path"), undo)
		for _, going := range p.Largest {
			fmt.Fprintf(w, "   %s  %s\n", going.Path.Abs(storeDir), bytesize(going.Bytes))
		}
		if more := p.Withdraw.Count - int64(len(p.Largest)); more > 0 {
			fmt.Fprintf(w, "   and %d more, see --json\n", more)
		}
	}
	if p.Reclaim.Count > 0 {
		fmt.Fprintf(w, "goes for good: %s that nothing leads to\n", counted(p.Reclaim, "object"))
	}
	if p.Unfinished > 0 {
		fmt.Fprintf(w, "goes for good: %s in parts that broke off more than a week ago\n", plural(int64(p.Unfinished), "upload"))
	}
	if p.Waiting.Count > 0 {
		text := "dead, and not gone in this run: " + counted(p.Waiting, "object")
		if !p.Due.IsZero() {
			text += ", the first of it from " + p.Due.Local().Format("2006-01-02 15:04") + " on"
		}
		fmt.Fprintln(w, text)
	}
	if n := len(p.ForSize); n > 0 || p.LooseForSize > 0 {
		fmt.Fprintf(w, "goes because of max-size: %s, %s that no root keeps\n", plural(int64(n), "run"), plural(int64(p.LooseForSize), "path"))
		for _, name := range p.ForSize[:min(n, shownRoots)] {
			fmt.Fprintf(w, "   %s\n", name)
		}
		if n > shownRoots {
			fmt.Fprintf(w, "   and %d more, see --json\n", n-shownRoots)
		}
	}
	fmt.Fprintf(w, "before: %s; after: %s\n", counted(p.Before, "path"), counted(p.After, "path"))
	fmt.Fprintf(w, "stays: %s", counted(p.Live, "path"))
	if o.Policy != nil && o.Policy.MaxSize > 0 {
		fmt.Fprintf(w, " of %s (max-size)", bytesize(o.Policy.MaxSize))
	}
	if p.ForUndo > 0 {
		fmt.Fprintf(w, "; %s more for gc undo alone", bytesize(p.ForUndo))
	}
	fmt.Fprintln(w)
}

// shownRoots is how many roots the text of a plan names.
const shownRoots = 50

// printRoots prints a line for each root.
func printRoots(w io.Writer, rows []gc.Root, most int) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows[:min(len(rows), most)] {
		fmt.Fprintf(t, "%s\tkeeps %s\tonly it keeps %s", r.Name, counted(r.All, "path"), counted(r.Only, "path"))
		if !r.Newest.IsZero() {
			fmt.Fprintf(t, "\tnewest %s", r.Newest.Local().Format("2006-01-02"))
		}
		if !r.LastUsed.IsZero() {
			fmt.Fprintf(t, "\tused %s", r.LastUsed.Format("2006-01-02"))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	if len(rows) > most {
		fmt.Fprintf(w, "and %d more, see --json\n", len(rows)-most)
	}
}
