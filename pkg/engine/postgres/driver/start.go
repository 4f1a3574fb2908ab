package driver

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// How the server starts: as a primary, or as a replica, which standby.signal makes of it.
//
// Data of a replica that was never promoted, or whose promotion did not end, starts as a replica
// even when a primary was asked for: without standby.signal it would go on with the timeline of the
// primary that it comes from, and nobody could tell the two apart. It has no source then, and
// Promote makes it a primary.

// PrepareStart implements agent.Replicator.
func (d *Driver) PrepareStart(_ context.Context, mode agent.StartMode, dataID string) error {
	if d.running() {
		return wrap("prepare a start", errRunning)
	}
	return d.change(func(s *replicationState) { s.Mode, s.DataID = mode, dataID })
}

// prepareFiles writes what the server reads when it starts.
func (d *Driver) prepareFiles(ctx context.Context, configDir, major string) error {
	d.forget()
	d.promoting.Store(false)
	version, err := strconv.ParseInt(major, 10, 32)
	if err != nil {
		return fmt.Errorf("read the version of the data: %w", err)
	}
	d.serverVersion.Store(int32(version))
	// The data that starts is whole, so nothing needs these any more.
	if err := d.removeLeftovers(dirClone, dirOld, dirRewind); err != nil {
		klog.FromContext(ctx).Error(err, "What an interrupted clone left could not be removed")
	}
	if err := d.refuseAlterSystem(); err != nil {
		return err
	}
	d.files.Lock()
	defer d.files.Unlock()
	d.configDir, d.major, d.floor, d.blocked = configDir, major, nil, false
	d.inForce = realPath(configDir)
	state, err := d.load()
	if err != nil {
		return err
	}
	d.synchronous.started(state.Synchronous.Names)
	if state.following() == nil {
		if err := removeFile(d.replicationFile(filePassword)); err != nil {
			return err
		}
	}
	if state.Mode != "" {
		if err := d.prepareMode(ctx, state.Mode); err != nil {
			return err
		}
	}
	if err := d.writeFiles(); err != nil {
		return err
	}
	d.unread = false
	return nil
}

// prepareMode makes a replica or a primary of the server. The caller holds d.files.
func (d *Driver) prepareMode(ctx context.Context, mode agent.StartMode) error {
	data, err := d.controlData(ctx, d.major)
	if err != nil {
		return err
	}
	signal := filepath.Join(d.dataDir(), fileStandby)
	if mode == agent.StartPrimary && !d.wasReplica(data) {
		return removeFile(signal)
	}
	if mode == agent.StartPrimary {
		klog.FromContext(ctx).Info("The data is a replica's, and starts as one: its promotion did not end")
	}
	if _, err := agent.ReplaceFile(signal, nil); err != nil {
		return err
	}
	d.floor, err = d.floorOf(ctx, d.configDir, data)
	return err
}

// lowerFloor looks again at what a replica must have higher than it is configured: the primary may
// have fewer of it now.
func (d *Driver) lowerFloor(ctx context.Context) error {
	d.files.Lock()
	defer d.files.Unlock()
	if len(d.floor) == 0 {
		return nil
	}
	data, err := d.controlData(ctx, d.major)
	if err != nil {
		return err
	}
	floor, err := d.floorOf(ctx, d.configDir, data)
	if err == nil {
		d.floor = floor
	}
	return err
}

// floored are the settings that wait until the primary has fewer of them, and then for a restart.
func (d *Driver) floored() []string {
	d.files.Lock()
	defer d.files.Unlock()
	var names []string
	for _, s := range d.floor {
		names = append(names, s.name)
	}
	return names
}
