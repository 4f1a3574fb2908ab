package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/platform-io/database-operator/hack/checker/engine"
	"github.com/platform-io/database-operator/hack/checker/history"
)

// readBackTimeout bounds one attempt to read all rows.
const readBackTimeout = time.Minute

type verification struct {
	access
	logs    []string
	json    string
	timeout time.Duration
	options history.Options
}

func verifyCommand() *cobra.Command {
	v := &verification{}
	cmd := &cobra.Command{
		Use: "verify", Short: "Compare the outcomes with the rows that are there", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	flags := cmd.Flags()
	v.addFlags(flags)
	flags.StringArrayVar(&v.logs, "log", nil, "log of a run; may be given again")
	flags.StringVar(&v.json, "json", "", "file for the report as JSON; - is standard output, in place of the text")
	flags.DurationVar(&v.timeout, "timeout", time.Minute, "limit of the time until a primary answers")
	flags.BoolVar(&v.options.StrictReads, "strict-reads", false, "a row that a reader saw and that is gone is a failure")
	return cmd
}

func (v *verification) run(ctx context.Context, out io.Writer) error {
	if len(v.logs) == 0 {
		return errors.New("--log must be given")
	}
	h, err := history.LoadFiles(v.logs...)
	if err != nil {
		return err
	}
	if len(h.Runs) == 0 {
		return errors.New("the logs hold no run")
	}
	database, err := v.open(v.uri, "uri")
	if err != nil {
		return err
	}
	readback, err := v.readBack(ctx, database, h)
	if err != nil {
		return err
	}
	report := history.Analyze(h, readback, v.options)
	if err := v.show(&report, out); err != nil {
		return fmt.Errorf("show the report: %w", err)
	}
	if len(report.Failures) > 0 {
		return errBad
	}
	return nil
}

// readBack tries until a primary answers.
func (v *verification) readBack(ctx context.Context, database engine.Engine, h history.History) (history.Readback, error) {
	runs := make([]string, 0, len(h.Runs))
	for i := range h.Runs {
		runs = append(runs, h.Runs[i].ID)
	}
	limit, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	for {
		attempt, cancelAttempt := context.WithTimeout(ctx, readBackTimeout)
		readback, err := database.ReadBack(attempt, runs)
		cancelAttempt()
		if err == nil {
			return readback, nil
		}
		select {
		case <-limit.Done():
			return history.Readback{}, fmt.Errorf("no primary gave the rows within %s: %w", v.timeout, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (v *verification) show(report *history.Report, out io.Writer) error {
	content, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	content = append(content, '\n')
	switch v.json {
	case "-":
		_, err = out.Write(content)
		return err
	case "":
	default:
		if err := os.WriteFile(v.json, content, 0o644); err != nil {
			return err
		}
	}
	return report.WriteText(out)
}
