package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Options say how text is rendered.
type Options struct {
	// Now is what ages are counted from.
	Now time.Time
	// Width is that of the screen, in columns; messages are wrapped to it. Tables are not.
	Width int
	// Colour says whether the reader's terminal shows colours.
	Colour bool
}

// style is how a piece of text looks on a terminal with colours.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// cell is one piece of text with its style.
type cell struct {
	text  string
	style style
}

func text(s string) cell { return cell{text: s} }

// page collects the lines of a text.
type page struct {
	Options
	out strings.Builder
}

// paint gives a piece its colour. Text that others wrote does not get to steer the terminal.
func (p *page) paint(c cell) string {
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, c.text)
	if !p.Colour || c.style == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c.style) + "m" + s + "\x1b[0m"
}

// line writes pieces one after the other.
func (p *page) line(pieces ...cell) {
	var b strings.Builder
	for _, piece := range pieces {
		b.WriteString(p.paint(piece))
	}
	p.out.WriteString(strings.TrimRight(b.String(), " "))
	p.out.WriteByte('\n')
}

// section begins a part of the page.
func (p *page) section(title string) {
	p.out.WriteByte('\n')
	p.line(cell{title, bold})
}

// field writes a name and its value, aligned with the other fields; the value may have several lines.
func (p *page) field(name string, value cell) {
	for i, part := range wrap(value.text, p.Width-fieldIndent) {
		if i > 0 {
			name = ""
		}
		p.line(cell{fmt.Sprintf("  %-*s", fieldIndent-2, name), dim}, cell{part, value.style})
	}
}

const fieldIndent = 15

// message writes a wrapped paragraph.
func (p *page) message(indent int, value cell) {
	for _, part := range wrap(value.text, p.Width-indent) {
		p.line(text(strings.Repeat(" ", indent)), cell{part, value.style})
	}
}

// table writes rows under headings, without the columns that no row fills.
func (p *page) table(headings []string, rows [][]cell) {
	widths := make([]int, len(headings))
	for i := range headings {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
		if widths[i] > 0 {
			widths[i] = max(widths[i], utf8.RuneCountInString(headings[i]))
		}
	}
	head := make([]cell, len(headings))
	for i, heading := range headings {
		head[i] = cell{heading, dim}
	}
	p.row(widths, head)
	for _, row := range rows {
		p.row(widths, row)
	}
}

func (p *page) row(widths []int, row []cell) {
	pieces := []cell{text("  ")}
	for i, c := range row {
		if widths[i] == 0 {
			continue
		}
		// Colours have no width, so a cell is padded beside its text.
		pieces = append(pieces, c, text(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2)))
	}
	for len(pieces) > 0 && strings.TrimSpace(pieces[len(pieces)-1].text) == "" {
		pieces = pieces[:len(pieces)-1]
	}
	p.line(pieces...)
}

// age is how long ago something was, in two units at most.
func (p *page) age(t *metav1.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return duration.HumanDuration(p.Now.Sub(t.Time))
}

// ago is a time in the past, as people say it.
func (p *page) ago(t *metav1.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return p.age(t) + " ago"
}

// when is an exact time and how far it is, past or future.
func (p *page) when(t *metav1.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	stamp := t.UTC().Format("2006-01-02 15:04 UTC")
	if t.After(p.Now) {
		return stamp + " (in " + duration.HumanDuration(t.Sub(p.Now)) + ")"
	}
	return stamp + " (" + p.ago(t) + ")"
}

// wrap breaks text at spaces; a word that is longer than a line gets a line of its own.
func wrap(s string, width int) []string {
	width = max(width, 20)
	var lines []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			switch {
			case line == "":
				line = word
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
				lines = append(lines, line)
				line = word
			default:
				line += " " + word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// size is a number of bytes, as people read it.
func size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%dB", bytes)
	}
	value, names := float64(bytes)/unit, "KMGTP"
	i := 0
	for value >= unit && i < len(names)-1 {
		value /= unit
		i++
	}
	if value >= 100 || value == float64(int64(value)) {
		return fmt.Sprintf("%.0f%ciB", value, names[i])
	}
	return fmt.Sprintf("%.1f%ciB", value, names[i])
}
