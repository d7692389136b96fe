package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one measure of ours, and the same of a baseline in the same run.
type row struct {
	Measure  string  `json:"measure"`
	Unit     string  `json:"unit"`
	Ours     float64 `json:"ours"`
	Baseline float64 `json:"baseline"`
	Against  string  `json:"against"` // which baseline
	// MaxRatio and MaxOurs are the goals; nil is none.
	MaxRatio *float64 `json:"maxRatio,omitempty"`
	MaxOurs  *float64 `json:"maxOurs,omitempty"`
}

// atMost is a goal for row.MaxRatio or row.MaxOurs.
func atMost(limit float64) *float64 { return &limit }

func (r row) ratio() string {
	if r.Baseline == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", r.Ours/r.Baseline)
}

// goal is the goal, and "ok" or "over"; both are empty where there is none.
func (r row) goal() (goal, verdict string) {
	var met bool
	switch {
	case r.MaxRatio != nil:
		goal, met = fmt.Sprintf("≤ %.2f ×", *r.MaxRatio), r.Ours <= *r.MaxRatio*r.Baseline
	case r.MaxOurs != nil:
		goal, met = strings.TrimSpace("≤ "+number(*r.MaxOurs)+" "+r.Unit), r.Ours <= *r.MaxOurs
	default:
		return "", ""
	}
	if met {
		return goal, "ok"
	}
	return goal, "over"
}

// number is a figure with three digits that count.
func number(f float64) string {
	digits := 0
	if f != 0 && f != math.Trunc(f) {
		digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(f)))))
	}
	return fmt.Sprintf("%.*f", digits, f)
}

// report is what a run found.
type report struct {
	Started time.Time `json:"started"`
	Go      string    `json:"go"`
	System  string    `json:"system"`
	CPUs    int       `json:"cpus"`
	Rows    []row     `json:"rows"`
	// Samples are the single measurements of a figure, in its row's unit, in the order in which they were made.
	Samples map[string][]float64 `json:"samples"`
	// Parts are the sizes in bytes of what the function's executable consists of, and of the same in the empty handler.
	Parts []part `json:"parts,omitempty"`
}

func newReport() *report {
	return &report{Started: time.Now().UTC(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		CPUs: runtime.NumCPU(), Samples: map[string][]float64{}}
}

func (r *report) add(rows ...row) {
	for _, added := range rows {
		r.Rows = append(r.Rows, added)
		progress("  %s: %s %s, %s %s (%s)", added.Measure, number(added.Ours), added.Unit, number(added.Baseline), added.Unit, added.Against)
	}
}

func (r *report) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "measure\tours\tbaseline\tagainst\tratio\tgoal\t")
	for _, row := range r.Rows {
		goal, verdict := row.goal()
		fmt.Fprintf(table, "%s\t%s %s\t%s %s\t%s\t%s\t%s\t%s\n", row.Measure, number(row.Ours), row.Unit,
			number(row.Baseline), row.Unit, row.Against, row.ratio(), goal, verdict)
	}
	table.Flush()
	if len(r.Parts) == 0 {
		return
	}
	fmt.Fprintln(out, "\nThe function's executable before it is zipped, in MB (in brackets: the empty handler's):")
	for _, part := range r.Parts {
		fmt.Fprintf(out, "  %5.2f (%.2f)  %s\n", float64(part.Bytes)/1e6, float64(part.EmptyBytes)/1e6, part.Name)
	}
	fmt.Fprintln(out)
}

func (r *report) write(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, append(content, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("keeping the raw figures: %w", err)
	}
	return nil
}

// quantile is the q-th of the samples by nearest rank: 0.5 is the median.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
