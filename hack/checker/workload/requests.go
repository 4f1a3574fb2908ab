package workload

import (
	"context"

	"github.com/platform-io/database-operator/hack/checker/history"
)

// write writes rows until the context is done.
func (w *workload) write(ctx context.Context, worker int) error {
	c := &connection{workload: w, engine: w.Engine}
	defer c.close()
	for sequence := int64(1); ctx.Err() == nil; sequence++ {
		write := c.writeOne(context.WithoutCancel(ctx), worker, sequence)
		if err := w.log(history.Event{Write: &write}); err != nil {
			return err
		}
		c.next(ctx, write.Begin, w.Interval, write.Error == "")
	}
	return nil
}

func (c *connection) writeOne(ctx context.Context, worker int, sequence int64) history.Write {
	write := history.Write{Worker: worker, Sequence: sequence, Begin: c.Clock()}
	opened, err := c.open(ctx)
	if err != nil {
		write.Attempt = history.Attempt{Outcome: history.Failed, Stage: history.StageConnect, Reason: c.engine.Reason(err), Error: err.Error()}
		return write
	}
	write.Connected = opened
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.Request)
	defer cancel()
	id := history.ID{Run: c.Run, Worker: worker, Sequence: sequence}
	write.Attempt = c.session.Write(ctx, id, func() { write.Sent = c.Clock() })
	return write
}

// read reads the newest rows until the context is done.
func (w *workload) read(ctx context.Context, reader int) error {
	c := &connection{workload: w, engine: w.Reader}
	defer c.close()
	for ctx.Err() == nil {
		read := c.readOne(context.WithoutCancel(ctx), reader)
		if err := w.log(history.Event{Read: &read}); err != nil {
			return err
		}
		c.next(ctx, read.Begin, w.ReadInterval, read.Error == "")
	}
	return nil
}

func (c *connection) readOne(ctx context.Context, reader int) history.Read {
	read := history.Read{Reader: reader, Outcome: history.Failed, Begin: c.Clock()}
	var err error
	if read.Connected, err = c.open(ctx); err == nil {
		ctx, cancel := context.WithTimeout(ctx, c.Timeouts.Request)
		defer cancel()
		var server history.Server
		if read.Newest, server, err = c.session.Newest(ctx, c.Run, c.Workers); err == nil {
			read.Outcome, read.Server = history.Acknowledged, &server
		}
	}
	if err != nil {
		read.Reason, read.Error = c.engine.Reason(err), err.Error()
	}
	return read
}

// hold holds a session open. It is opened once: what ends it is what is to be seen.
func (w *workload) hold(ctx context.Context, number int) error {
	c := &connection{workload: w, engine: w.Engine}
	defer c.close()
	report := func(state history.SessionState, server *history.Server, err error) error {
		session := history.Session{Number: number, State: state, Server: server}
		if err != nil {
			session.Error = err.Error()
		}
		return w.log(history.Event{Session: &session})
	}
	server, err := c.opened(context.WithoutCancel(ctx))
	if err != nil {
		return report(history.SessionRefused, nil, err)
	}
	if err := report(history.SessionOpened, server, nil); err != nil {
		return err
	}
	if err := c.session.Idle(ctx); err != nil {
		return report(history.SessionEnded, server, err)
	}
	server, err = c.identify(context.WithoutCancel(ctx))
	if err != nil {
		return report(history.SessionDead, nil, err)
	}
	return report(history.SessionAnswers, server, nil)
}

// opened opens a session and says with whom.
func (c *connection) opened(ctx context.Context) (*history.Server, error) {
	if _, err := c.open(ctx); err != nil {
		return nil, err
	}
	return c.identify(ctx)
}

func (c *connection) identify(ctx context.Context) (*history.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.Request)
	defer cancel()
	server, err := c.session.Identify(ctx)
	if err != nil {
		return nil, err
	}
	return &server, nil
}
