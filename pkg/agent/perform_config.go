package agent

import (
	"context"
	"errors"
	"time"

	"k8s.io/klog/v2"
)

// How configurations are taken over, and given up. The link of the one before is put back whenever the
// engine cannot be seen to run with the new one, so that the last good configuration survives.

// configure takes the mounted files over when the engine accepts them; late is the hash of those that
// were not read in time once.
func (a *Agent) configure(wanted string, running bool, late string) action {
	return func(ctx context.Context) (func(*memory), error) {
		ctx, cancel := context.WithTimeout(ctx, configTimeout)
		defer cancel()
		hash, files, err := mountedHash(a.ConfigDir)
		if err != nil {
			return nil, err
		}
		if hash != wanted {
			// The kubelet was faster than we; the next turn sees it.
			return nil, nil
		}
		dir, err := a.configs.Stage(files)
		if err != nil {
			return nil, err
		}
		if err := a.Driver.CheckConfig(ctx, dir); err != nil {
			return a.refused(hash, err)
		}
		before := a.configs.Current()
		if err := a.configs.Use(hash); err != nil {
			return nil, err
		}
		if !running {
			return a.applied(hash, nil, a.configs.Good()), nil
		}
		pending, err := a.reload(ctx)
		if err != nil {
			return a.takeBack(ctx, before, hash, err, late == hash)
		}
		if len(pending) == 0 {
			err = a.configs.MarkGood(hash)
		}
		return a.applied(hash, pending, a.configs.Good()), err
	}
}

// takeBack returns to the configuration before one that could not be read in. Only when that is read
// in time does lateness say something about the new one; and once says little under load.
func (a *Agent) takeBack(ctx context.Context, before, hash string, cause error, again bool) (func(*memory), error) {
	if err := a.configs.Use(before); err != nil {
		return nil, errors.Join(cause, err)
	}
	if _, err := a.reload(ctx); err != nil {
		return nil, errors.Join(cause, err)
	}
	switch {
	case !errors.Is(cause, context.DeadlineExceeded):
		return a.refused(hash, cause)
	case !again:
		return func(m *memory) { m.config.late = hash }, cause
	}
	return a.refused(hash, &Refusal{Words: "the engine does not answer in time with it, and does with the one before" + askAgain})
}

// askAgain ends a refusal whose reason need not be the configuration: the node may have been slow.
const askAgain = "; to have it tried again, take the change back, and once that is applied make it again"

// reload leaves time for another one.
func (a *Agent) reload(ctx context.Context) (pending []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	return a.Driver.Reload(ctx)
}

// refused is the update after the engine said no. An error of another kind says nothing about
// the configuration, and the step is tried again.
func (a *Agent) refused(hash string, err error) (func(*memory), error) {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return nil, err
	}
	return func(m *memory) { a.refuse(m, hash, refusal.Error()) }, nil
}

// refuse notes which configuration the engine does not accept, or that none is known. The volume
// keeps it, or the next container would try the same files again.
func (a *Agent) refuse(m *memory, hash, words string) {
	m.config.refused, m.config.refusal, m.config.late = hash, words, ""
	var refused *RefusedConfig
	if hash != "" {
		refused = &RefusedConfig{Hash: hash, Words: words}
	}
	if err := a.store.Update(func(s *State) { s.Refused = refused }); err != nil {
		klog.FromContext(a.background).Error(err, "What the engine said of the configuration could not be kept on the volume")
	}
}

func (a *Agent) applied(hash string, pending []string, good string) func(*memory) {
	return func(m *memory) {
		m.config.current, m.config.good, m.config.pendingRestart = hash, good, pending
		a.refuse(m, "", "")
		// A start that failed says nothing about these files.
		m.startFailed = false
		m.restartAt = time.Time{}
	}
}

// fallBack returns to the last good configuration after a start with a new one failed.
func (a *Agent) fallBack(failed, good, words string) action {
	return func(context.Context) (func(*memory), error) {
		if err := a.configs.Use(good); err != nil {
			return nil, err
		}
		return func(m *memory) {
			m.config.current, m.config.pendingRestart = good, nil
			a.refuse(m, failed, words)
			m.startFailed, m.restartAt, m.fellBack = false, time.Time{}, true
		}, nil
	}
}
