package agent

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMessageIsFlushedWhenTheEngineIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		got := make(chan string, 4)
		go newPump(&lines{}, func(e LogEntry) { got <- e.Message }).run(reader)
		if _, err := io.WriteString(writer, "one\n"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if message := <-got; message != "one" || time.Since(begin) != quiet {
			t.Errorf("got %q after %s", message, time.Since(begin))
		}
		_ = writer.Close()
	})
}

func TestLongAndBrokenLinesAreCut(t *testing.T) {
	var got []string
	input := strings.Repeat("x", 3*maxLine) + "\nnext\xff\nunfinished"
	newPump(&lines{}, func(e LogEntry) { got = append(got, e.Message) }).run(strings.NewReader(input))
	if len(got) != 3 || len(got[0]) > maxLine || got[1] != "next\uFFFD" || got[2] != "unfinished" {
		t.Errorf("got %d lines, the others %q", len(got), got[1:])
	}
}
