// Package plural writes numbers with their nouns.
package plural

import "strconv"

// Of is a number with a noun that takes an s, as in "1 replica" and "2 replicas".
func Of[N ~int | ~int32 | ~int64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(int64(n), 10) + " " + noun
}
