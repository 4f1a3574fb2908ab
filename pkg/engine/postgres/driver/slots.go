package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Replication slots. The primary has one for each replica, and so keeps the log that it needs, up to
// max_slot_wal_keep_size; a slot that lost its log to that limit is made anew when the replicas
// change: the one that had it is cloned (follow.go), and has another name then. Slots whose names are
// not ours are left alone.

const slotPrefix = "database_agent_"

var slotSafe = regexp.MustCompile(`^[a-z0-9_]{1,40}$`)

// slotName is the name of the slot of a replica. Ids whose letters a slot may not have, or that are
// too long, are hashed.
func slotName(dataID string) string {
	name := strings.ToLower(dataID)
	if !slotSafe.MatchString(name) {
		sum := sha256.Sum256([]byte(dataID))
		name = hex.EncodeToString(sum[:16])
	}
	return slotPrefix + name
}

type slotFacts struct {
	Name   string
	Active bool
	Lost   bool
}

const slotsQuery = `SELECT slot_name, active, coalesce(wal_status, '') = 'lost'
	FROM pg_replication_slots WHERE slot_type = 'physical' AND starts_with(slot_name, $1) ORDER BY slot_name`

// SetReplicas implements agent.Replicator. A replica keeps log for nobody: it makes no slots.
func (d *Driver) SetReplicas(ctx context.Context, dataIDs []string) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	inRecovery, err := isInRecovery(ctx, conn)
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, slotsQuery, slotPrefix)
	if err != nil {
		return fmt.Errorf("look at the slots: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[slotFacts])
	if err != nil {
		return fmt.Errorf("look at the slots: %w", err)
	}
	wanted := make([]string, len(dataIDs))
	for i, id := range dataIDs {
		wanted[i] = slotName(id)
	}
	drop, create := slotChanges(found, wanted, inRecovery)
	var errs []error
	for _, name := range drop {
		// One that is in use cannot be dropped; the error makes the caller come again.
		if _, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name); err != nil {
			errs = append(errs, fmt.Errorf("drop the slot %s: %w", name, err))
		}
	}
	for _, name := range create {
		if _, err := conn.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", name); err != nil {
			errs = append(errs, fmt.Errorf("make the slot %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// slotChanges says which slots go, and which are made.
func slotChanges(found []slotFacts, wanted []string, inRecovery bool) (drop, create []string) {
	kept := map[string]bool{}
	for _, slot := range found {
		if !slices.Contains(wanted, slot.Name) || slot.Lost && !slot.Active {
			drop = append(drop, slot.Name)
			continue
		}
		kept[slot.Name] = true
	}
	if inRecovery {
		return drop, nil
	}
	for _, name := range wanted {
		if !kept[name] {
			create = append(create, name)
			kept[name] = true
		}
	}
	return drop, create
}
