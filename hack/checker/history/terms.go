package history

import (
	"cmp"
	"slices"
	"time"
)

// TermReport is what one term did.
type TermReport struct {
	Term
	// Rows that are there and say that this term wrote them.
	Rows int `json:"rows"`
	// Acknowledged by it, and when first and last.
	Acknowledged int        `json:"acknowledged"`
	First        *time.Time `json:"first,omitempty"`
	Last         *time.Time `json:"last,omitempty"`
}

// Interleaving is the proof of two primaries: a term acknowledged a write whose commit was requested when a newer term had already
// acknowledged one.
//
// Newer is the term of the higher epoch, or, of two with the same one, that whose first acknowledgement came later.
type Interleaving struct {
	Older Term `json:"older"`
	Newer Term `json:"newer"`
	// NewerFirst is when the newer one's first acknowledgement was there.
	NewerFirst time.Time `json:"newerFirst"`
	// Late acknowledgements of the older one, committed after that for certain, and when the first of them was requested and the last
	// was there.
	Late      int       `json:"late"`
	LateFirst time.Time `json:"lateFirst"`
	LateLast  time.Time `json:"lateLast"`
	// Overlapping ones were requested before that and answered after it: they may be late.
	Overlapping int `json:"overlapping"`
	// Alternating: the newer one acknowledged again after a late one. Otherwise the older one may just have come back with old data.
	Alternating bool `json:"alternating"`
}

// terms sorts what was acknowledged, and the rows, by term.
type terms struct {
	acknowledged map[Term][]Write
	rows         map[Term]int
}

func newTerms(runs []Run, rows []Row) terms {
	t := terms{acknowledged: map[Term][]Write{}, rows: map[Term]int{}}
	for i := range runs {
		for _, w := range runs[i].Writes {
			if w.Outcome == Acknowledged && w.Server != nil {
				t.acknowledged[w.Server.Term] = append(t.acknowledged[w.Server.Term], w)
			}
		}
	}
	for _, writes := range t.acknowledged {
		slices.SortFunc(writes, func(a, b Write) int { return compare(a.End, b.End) })
	}
	for _, row := range rows {
		t.rows[row.Term]++
	}
	return t
}

// inOrder lists the terms that acknowledged something, the oldest first.
func (t terms) inOrder() []Term {
	var all []Term
	for term := range t.acknowledged {
		all = append(all, term)
	}
	slices.SortFunc(all, func(a, b Term) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), compare(t.acknowledged[a][0].End, t.acknowledged[b][0].End))
	})
	return all
}

func (t terms) reports() []TermReport {
	var all []TermReport
	for _, term := range t.inOrder() {
		writes := t.acknowledged[term]
		first, last := writes[0].End.Time(), writes[len(writes)-1].End.Time()
		all = append(all, TermReport{Term: term, Rows: t.rows[term], Acknowledged: len(writes), First: &first, Last: &last})
	}
	var silent []TermReport
	for term, count := range t.rows {
		if t.acknowledged[term] == nil {
			silent = append(silent, TermReport{Term: term, Rows: count})
		}
	}
	slices.SortFunc(silent, func(a, b TermReport) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.String(), b.String()))
	})
	return append(all, silent...)
}

func (t terms) interleavings() []Interleaving {
	var all []Interleaving
	ordered := t.inOrder()
	for i, older := range ordered {
		for _, newer := range ordered[i+1:] {
			if found := t.interleaving(older, newer); found.Late > 0 {
				all = append(all, found)
			}
		}
	}
	return all
}

func (t terms) interleaving(older, newer Term) Interleaving {
	newerWrites := t.acknowledged[newer]
	first := newerWrites[0].End
	found := Interleaving{Older: older, Newer: newer, NewerFirst: first.Time()}
	var lateEnd Instant
	for _, w := range t.acknowledged[older] {
		switch {
		case w.Sent > first:
			if found.Late == 0 {
				lateEnd = w.End
			}
			if found.Late == 0 || w.Sent.Time().Before(found.LateFirst) {
				found.LateFirst = w.Sent.Time()
			}
			found.Late, found.LateLast = found.Late+1, w.End.Time()
		case w.End > first:
			found.Overlapping++
		}
	}
	found.Alternating = found.Late > 0 && slices.ContainsFunc(newerWrites, func(w Write) bool { return w.Sent > lateEnd })
	return found
}
