// Command draw makes the drawings in docs from their texts: docs/NAME.txt becomes
// docs/NAME.svg. Run it from the repository's root:
//
//	go -C e2e run ./cmd/draw ../docs
//
// A text has one element a line. Coordinates and sizes are in pixels, and | in a
// label begins a new line:
//
//	size WIDTH HEIGHT
//	title TEXT                          what the drawing tells, for those who cannot see it
//	area X Y WIDTH HEIGHT LABEL         a frame around things that belong together
//	box X Y WIDTH HEIGHT LABEL          a thing; its first line is bold
//	secret X Y WIDTH HEIGHT LABEL       a thing that holds a secret
//	quiet X Y WIDTH HEIGHT LABEL        a thing in the background
//	arrow X1 Y1 X2 Y2                   from here to there
//	edge FROM TO                        an arrow between things above, named by the last lines of their labels
//	text X Y LABEL                      centred around X
//	left X Y LABEL                      begins at X
//
// Empty lines, and lines that begin with #, are left out.
package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: draw FOLDER"))
	}
	texts, err := filepath.Glob(filepath.Join(os.Args[1], "*.txt"))
	if err != nil {
		fail(err)
	}
	for _, path := range texts {
		if err := draw(path); err != nil {
			fail(fmt.Errorf("drawing %s: %w", path, err))
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func draw(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	svg, err := SVG(string(text))
	if err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(path, ".txt")+".svg", []byte(svg), 0o644)
}

// The drawing brings its own background, so that it is readable wherever it stands.
const style = `<style>
.ground{fill:#fff;stroke:#d0d7de}.area{fill:#f6f8fa;stroke:#8c959f;stroke-dasharray:5 4}
.box{fill:#ddf4ff;stroke:#0969da}.secret{fill:#fff8c5;stroke:#9a6700}.quiet{fill:#eaeef2;stroke:#8c959f}
text{font:14px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1f2328}
.bold{font-weight:600}.soft{fill:#57606a}
.arrow{stroke:#57606a;stroke-width:1.5}.head{fill:#57606a}
@media(prefers-color-scheme:dark){
.ground{fill:#0d1117;stroke:#30363d}.area{fill:#161b22;stroke:#6e7681}
.box{fill:#0c2d6b;stroke:#58a6ff}.secret{fill:#4b2900;stroke:#d29922}.quiet{fill:#21262d;stroke:#6e7681}
text{fill:#e6edf3}.soft{fill:#9ea7b3}.arrow{stroke:#9ea7b3}.head{fill:#9ea7b3}
}
</style>
<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto"><path class="head" d="M0 0L10 5L0 10z"/></marker></defs>
`

// SVG draws a text.
func SVG(text string) (string, error) {
	var title, body strings.Builder
	width, height := 0, 0
	things := map[string]thing{}
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		var err error
		switch kind {
		case "title":
			title.WriteString(html.EscapeString(rest))
		case "size":
			var n []int
			n, _, err = numbers(rest, 2)
			if err == nil {
				width, height = n[0], n[1]
			}
		default:
			err = element(&body, things, kind, rest)
		}
		if err != nil {
			return "", fmt.Errorf("line %d, %q: %w", number+1, line, err)
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" role="img" aria-label="%s">
%s<rect class="ground" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>
%s</svg>
`, width, height, width, title.String(), style, width-1, height-1, body.String()), nil
}

// thing is where a box stands.
type thing struct{ x, y, width, height int }

// between are the ends of a line from one thing to another: straight where they stand side by side.
func between(from, to thing) (x1, y1, x2, y2 int) {
	x1, x2 = facing(from.x, from.x+from.width, to.x, to.x+to.width)
	y1, y2 = facing(from.y, from.y+from.height, to.y, to.y+to.height)
	return x1, y1, x2, y2
}

// facing is the middle of what two ranges share, or else their ends that face each other.
func facing(first, last, otherFirst, otherLast int) (int, int) {
	switch begin, end := max(first, otherFirst), min(last, otherLast); {
	case begin < end:
		return (begin + end) / 2, (begin + end) / 2
	case first < otherFirst:
		return last, otherFirst
	}
	return first, otherLast
}

func element(out *strings.Builder, things map[string]thing, kind, rest string) error {
	switch kind {
	case "area", "box", "secret", "quiet":
		n, label, err := numbers(rest, 4)
		if err != nil {
			return err
		}
		x, y, width, height := n[0], n[1], n[2], n[3]
		fmt.Fprintf(out, "<rect class=%q x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", kind, x, y, width, height)
		lines := strings.Split(label, "|")
		things[lines[len(lines)-1]] = thing{x, y, width, height}
		if kind == "area" {
			write(out, "bold", "start", x+12, y+22, lines[0])
			return nil
		}
		first := y + height/2 + 5 - 9*(len(lines)-1)
		for i, line := range lines {
			class := "soft"
			if i == 0 {
				class = "bold"
			}
			write(out, class, "middle", x+width/2, first+18*i, line)
		}
	case "arrow":
		n, _, err := numbers(rest, 4)
		if err != nil {
			return err
		}
		arrow(out, n[0], n[1], n[2], n[3])
	case "edge":
		from, to, _ := strings.Cut(rest, " ")
		for _, name := range []string{from, to} {
			if _, there := things[name]; !there {
				return fmt.Errorf("there is nothing called %q above", name)
			}
		}
		x1, y1, x2, y2 := between(things[from], things[to])
		arrow(out, x1, y1, x2, y2)
	case "text", "left":
		n, label, err := numbers(rest, 2)
		if err != nil {
			return err
		}
		anchor := map[string]string{"text": "middle", "left": "start"}[kind]
		for i, line := range strings.Split(label, "|") {
			write(out, "soft", anchor, n[0], n[1]+18*i, line)
		}
	default:
		return fmt.Errorf("there is no element %q", kind)
	}
	return nil
}

func arrow(out *strings.Builder, x1, y1, x2, y2 int) {
	fmt.Fprintf(out, "<line class=\"arrow\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" marker-end=\"url(#head)\"/>\n", x1, y1, x2, y2)
}

func write(out *strings.Builder, class, anchor string, x, y int, line string) {
	fmt.Fprintf(out, "<text class=%q text-anchor=%q x=\"%d\" y=\"%d\">%s</text>\n", class, anchor, x, y, html.EscapeString(strings.TrimSpace(line)))
}

// numbers reads count numbers, and returns what follows them.
func numbers(text string, count int) ([]int, string, error) {
	fields := strings.SplitN(text, " ", count+1)
	if len(fields) < count {
		return nil, "", fmt.Errorf("it wants %d numbers", count)
	}
	values := make([]int, count)
	for i := range values {
		var err error
		if values[i], err = strconv.Atoi(fields[i]); err != nil {
			return nil, "", fmt.Errorf("%q is not a whole number", fields[i])
		}
	}
	if len(fields) == count {
		return values, "", nil
	}
	return values, fields[count], nil
}
