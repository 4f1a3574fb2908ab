package peers

import (
	"fmt"
	"os"
	"strings"

	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/e2e/results"
)

// Save compares, and writes NAME.json and NAME.md.
func (f *File) Save(name string) error {
	f.Compare()
	if err := results.WriteJSON(name+".json", f); err != nil {
		return err //nolint:wrapcheck // it says what it did
	}
	if err := os.WriteFile(name+".md", []byte(f.Markdown()), 0o600); err != nil {
		return fmt.Errorf("writing the tables: %w", err)
	}
	return nil
}

// Markdown is a table for each pair, and one of the requests.
func (f *File) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s. %s. Ratios are the peer's number divided by ours.\n", f.Machine, f.Versions)
	for _, pair := range f.Pairs {
		fmt.Fprintf(&b, "\n**%s.** %s, and %s:\n\n", pair.Name, pair.Ours, pair.Peer)
		f.writeFaults(&b, pair)
	}
	if len(f.Settled) > 0 {
		b.WriteString("\n**Requests to the API server a minute, while nothing happens:**\n\n")
		f.writeRates(&b)
	}
	return b.String()
}

func (f *File) writeFaults(b *strings.Builder, pair Pair) {
	b.WriteString("| fault | runs | write gap p50: ours | peer | ratio | write gap max: ours | peer | lost rows: ours | peer " +
		"| failed requests: ours | peer | all ready again p50: ours | peer | notes |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n")
	for i := range f.Comparisons {
		c := &f.Comparisons[i]
		if c.Pair != pair.Name {
			continue
		}
		ours, peer := &c.Ours, &c.Peer
		runs := fmt.Sprint(ours.Runs)
		if ours.Runs != peer.Runs {
			runs = fmt.Sprintf("%d, %d", ours.Runs, peer.Runs)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %d | %d | %d | %d | %s | %s | %s |\n", c.Fault, runs,
			ours.seconds(ours.Gap.P50), peer.seconds(peer.Gap.P50), times(c.GapRatio), ours.seconds(ours.Gap.Max), peer.seconds(peer.Gap.Max),
			ours.Lost, peer.Lost, ours.Failed, peer.Failed, ours.seconds(ours.Recovered.P50), peer.seconds(peer.Recovered.P50), c.notes())
	}
}

// notes are what numbers do not say.
func (c *Comparison) notes() string {
	var notes []string
	for _, side := range []struct {
		name string
		*Side
	}{{"ours", &c.Ours}, {"peer", &c.Peer}} {
		if side.TwoPrimaries > 0 {
			notes = append(notes, fmt.Sprintf("%s: two primaries in %d", side.name, side.TwoPrimaries))
		}
		if side.Unfinished > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d more not as it should be within the time", side.name, side.Unfinished))
		}
	}
	return strings.Join(notes, "; ")
}

func (f *File) writeRates(b *strings.Builder) {
	b.WriteString("| database | reads | writes | of the control plane, because of them | in all | ratio |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, pair := range f.Pairs {
		ours, peer := f.settled(pair.Ours), f.settled(pair.Peer)
		if ours == nil || peer == nil {
			continue
		}
		writeRate(b, pair.Ours, ours.Rates(), nil)
		writeRate(b, pair.Peer, peer.Rates(), ratio(peer.Rates().all(), ours.Rates().all()))
	}
}

func (r Rates) all() float64 { return r.Reads + r.Writes + r.Others }

func writeRate(b *strings.Builder, name string, r Rates, of *float64) {
	text := ""
	if of != nil {
		text = times(of)
	}
	fmt.Fprintf(b, "| %s | %.1f | %.1f | %.1f | %.1f | %s |\n", name, r.Reads, r.Writes, r.Others, r.all(), text)
}

// seconds of a side that ran.
func (s *Side) seconds(d history.Duration) string {
	if s.Runs == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func times(r *float64) string {
	switch {
	case r == nil:
		return "–"
	case *r < 10:
		return fmt.Sprintf("%.1f×", *r)
	default:
		return fmt.Sprintf("%.0f×", *r)
	}
}
