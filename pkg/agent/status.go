package agent

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// What the DatabaseInstance's status says, computed from what the loop knows and the step that it
// named.

// storagePeriod is the pause between looks at how full the volume is.
const storagePeriod = 10 * time.Second

// publish hands the status to the reporter, and the probes' answers to the HTTP server.
func (a *Agent) publish(m *memory, next step) {
	status := a.status(m, next)
	a.health.set(status, m, next)
	a.Metrics.observe(&status)
	if m.instance != nil {
		a.reporter.publish(m.instance.UID, status)
	}
}

// status is the whole status. Its conditions keep their times from the one before.
func (a *Agent) status(m *memory, next step) dbv1.DatabaseInstanceStatus {
	s := dbv1.DatabaseInstanceStatus{
		Role:               dbv1.RoleNone,
		Phase:              next.phase,
		Message:            cut(next.message, 4096),
		PodUID:             a.PodUID,
		ServiceAccountUID:  m.serviceAccount,
		DataID:             m.dataID,
		AgentVersion:       a.Version,
		AppliedConfigHash:  m.appliedConfig(),
		RefusedConfigHash:  m.config.refusedNow(m.spec),
		PendingRestart:     firstN(m.config.pendingRestart, 256),
		EngineStarts:       m.engineStarts,
		Storage:            m.storage,
		Operation:          m.operation,
		ObservedGeneration: m.settledGeneration,
		Accounts:           m.accountStatus(),
	}
	if m.volume != nil && m.volume.State == VolumeReady {
		s.SystemID = m.volume.SystemID
	}
	if r := m.report; r != nil {
		s.Role, s.ServerVersion, s.Timeline, s.Engine = m.role(), r.ServerVersion, r.Timeline, r.Engine
	}
	if m.repl != nil {
		m.repl.report(&s)
	}
	if m.progress != "" {
		s.Message = cut(m.progress, 4096)
	}
	s.Ready = m.ready()
	a.conditions(m, next, &s)
	return s
}

// ready: the engine answers, its role is settled, and its data is the recorded one. The label is not
// asked about: without the API server it cannot be seen, and the Service selects by it anyway.
func (m *memory) ready() bool {
	return m.engine == engineRunning && !m.stopAsked && m.spec != nil && m.volume != nil &&
		m.spec.SystemID != "" && m.spec.SystemID == m.volume.SystemID &&
		m.role() != dbv1.RoleNone && (m.repl == nil || m.repl.inTouch(m.now, m.spec.Replication))
}

// appliedConfig is the version that the engine has read: until it answered, the last one that it
// started with.
func (m *memory) appliedConfig() string {
	if m.readyAt.IsZero() {
		return m.config.good
	}
	return m.config.current
}

func (m *memory) accountStatus() []dbv1.InstanceAccountStatus {
	if m.spec == nil {
		return nil
	}
	var accounts []dbv1.InstanceAccountStatus
	for i := range m.spec.Accounts {
		facts, ok := m.accounts[m.spec.Accounts[i].Username]
		if !ok {
			continue
		}
		status := facts.status
		if facts.asked.State != m.spec.Accounts[i].State {
			// That it is gone does not tell that it is there, nor the reverse.
			status.Applied, status.Verified, status.PasswordVersion = false, false, ""
		}
		accounts = append(accounts, status)
	}
	return accounts
}

func (a *Agent) conditions(m *memory, next step, s *dbv1.DatabaseInstanceStatus) {
	ready := metav1.Condition{Type: dbv1.ConditionReady, Status: metav1.ConditionFalse, Reason: next.reason, Message: s.Message}
	switch {
	case s.Ready:
		ready.Status, ready.Reason = metav1.ConditionTrue, dbv1.ReasonAsExpected
	case ready.Reason == "" || ready.Reason == dbv1.ReasonAsExpected:
		ready.Reason = ReasonWaiting
	}
	conditions := slices.Clone(m.conditions)
	for _, c := range []metav1.Condition{ready, configCondition(m, next)} {
		if m.instance != nil {
			c.ObservedGeneration = m.instance.Generation
		}
		meta.SetStatusCondition(&conditions, c)
	}
	m.conditions = conditions
	s.Conditions = conditions
}

// configCondition says whether the engine runs with the configuration that is wanted.
func configCondition(m *memory, next step) metav1.Condition {
	c := metav1.Condition{Type: dbv1.ConditionConfigApplied, Status: metav1.ConditionFalse, Reason: dbv1.ReasonConfigPending}
	wanted := m.config.wanted(m.spec)
	switch {
	case m.config.refusedNow(m.spec) != "":
		c.Reason, c.Message = dbv1.ReasonConfigRefused, "The engine keeps its previous configuration: "+m.config.refusal
		if m.config.current == "" {
			c.Message = "The engine has no configuration to start with, until spec.engineConfig is corrected: " + m.config.refusal
		}
	case m.mountError != "":
		c.Message = m.mountError
	case wanted != m.config.current && wanted != m.config.mounted:
		c.Message = "Waiting until the kubelet mounts the configuration " + wanted
	case m.engine != engineRunning || next.kind == stepConfig || wanted != m.config.current:
		c.Message = "The engine has not read the configuration yet"
	case len(m.config.pendingRestart) > 0:
		c.Reason, c.Message = dbv1.ReasonRestartPending, "Some settings take effect with a restart; see pendingRestart"
	default:
		c.Status, c.Reason = metav1.ConditionTrue, dbv1.ReasonAsExpected
	}
	c.Message = cut(c.Message, 4096)
	return c
}

// reliefPercent is by how much a volume must be emptier than was said, before that is said.
const reliefPercent = 3

// readStorage says how full the volume is. What was said before stands until it is a percent fuller, or some
// percent emptier: a log that is recycled makes a volume emptier and fuller all the time.
func readStorage(dir string, before *dbv1.InstanceStorageStatus) *dbv1.InstanceStorageStatus {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Blocks == 0 {
		return nil
	}
	capacity := int64(fs.Blocks) * fs.Bsize
	// What is reserved for root is not free for the engine.
	return storageStatus(capacity-int64(fs.Bavail)*fs.Bsize, capacity, before)
}

func storageStatus(used, capacity int64, before *dbv1.InstanceStorageStatus) *dbv1.InstanceStorageStatus {
	percent := max(capacity/100, 1)
	if before != nil && before.CapacityBytes == capacity && used-before.UsedBytes < percent && before.UsedBytes-used < reliefPercent*percent {
		return before
	}
	return &dbv1.InstanceStorageStatus{UsedBytes: (used + percent - 1) / percent * percent, CapacityBytes: capacity}
}

// cut shortens a text to what the API takes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), limit/4)]) + " …"
}

func firstN(list []string, n int) []string { return list[:min(len(list), n)] }
