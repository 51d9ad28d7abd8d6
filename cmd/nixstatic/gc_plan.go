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
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range p.Roots {
		fmt.Fprintf(t, "%s\tkeeps %s\tonly it keeps %s\n", r.Name, counted(r.All, "path"), counted(r.Only, "path"))
	}
	t.Flush()
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
	if p.Waiting.Count > 0 {
		text := "dead, and not gone in this run: " + counted(p.Waiting, "object")
		if !p.Due.IsZero() {
			text += ", the first of it from " + p.Due.Local().Format("2006-01-02 15:04") + " on"
		}
		fmt.Fprintln(w, text)
	}
	fmt.Fprintf(w, "before: %s; after: %s\n", counted(p.Before, "path"), counted(p.After, "path"))
}
