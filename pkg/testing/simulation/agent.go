package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// agent is the process in one pod: what it remembers ends with the pod. Its fields are the
// property of the one worker that has its instance's key; those below mu are read by others.
type agent struct {
	created time.Time
	// upAt is when the engine answers; zero while it is down.
	upAt       time.Time
	starts     int64
	config     configuration
	reportedAt time.Time
	// reported is the resourceVersion that the last report made, leaseWritten of the last write of the Lease.
	reported, leaseWritten string
	// What came out of the last election: role, epoch, and who is followed.
	role   dbv1.InstanceRole
	epoch  int64
	source string
	// goneSince is when the holder's pod was first seen to be gone.
	goneSince time.Time

	mu      sync.Mutex
	isReady bool
	stopAt  time.Time
	// user is the UID of the ServiceAccount that the token is of.
	user types.UID
}

func (s *Simulation) agentOf(pod *corev1.Pod) *agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agents[pod.UID]
	if a == nil {
		a = &agent{created: time.Now(), role: dbv1.RoleReplica}
		s.agents[pod.UID] = a
	}
	return a
}

func (s *Simulation) forget(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.agents, pod.UID)
}

func (a *agent) setUser(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.user = uid
}

// authenticate takes a token when there is none, and says whose it is and whether it is accepted.
// Without a ServiceAccount of ours there is nothing to check.
func (t *turn) authenticate() (uid types.UID, ok bool) {
	now := types.UID("")
	if sa := find[corev1.ServiceAccount](t.users, cache.NewObjectName(t.pod.Namespace, t.pod.Spec.ServiceAccountName)); sa != nil {
		now = sa.UID
	}
	t.agent.mu.Lock()
	defer t.agent.mu.Unlock()
	if t.agent.user == "" {
		t.agent.user = now
	}
	return t.agent.user, t.agent.user == now
}

func (a *agent) ready() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.isReady
}

func (a *agent) setReady(ready bool) (changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed = a.isReady != ready
	a.isReady = ready
	return changed
}

// stop begins the end of the pod, and says how long it still takes.
func (a *agent) stop(after time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopAt.IsZero() {
		a.stopAt = time.Now().Add(after)
	}
	return time.Until(a.stopAt)
}

// syncInstance is one look of an agent at its instance: it does what is asked, reports, labels its
// pod, and answers the readiness probe.
func (s *Simulation) syncInstance(ctx context.Context, name cache.ObjectName) (time.Duration, error) {
	instance, pod := find[dbv1.DatabaseInstance](s.objects, name), find[corev1.Pod](s.pods, name)
	if instance == nil || pod == nil || pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
		return 0, nil
	}
	vol := s.volumeOf(pod)
	if vol == nil {
		return 0, nil // its claim wakes us
	}
	turn := &turn{Simulation: s, agent: s.agentOf(pod), instance: instance, pod: pod, volume: vol}
	var ok bool
	if turn.user, ok = turn.authenticate(); !ok {
		return 0, nil // nothing that it writes is accepted; RenewTokens wakes us
	}
	if older(instance.ResourceVersion, turn.agent.reported) {
		return 0, nil // our own report is on its way, and wakes us
	}
	status, err := turn.act(ctx)
	if err != nil {
		return 0, err
	}
	if s.options.Report != nil {
		s.options.Report(instance.DeepCopy(), status)
	}
	if err := turn.report(ctx, status); err != nil {
		return 0, err
	}
	if turn.agent.setReady(status.Ready) {
		s.enqueue(kindPod, pod)
	}
	return turn.again, nil
}

// turn is one look of one agent.
type turn struct {
	*Simulation
	agent    *agent
	instance *dbv1.DatabaseInstance
	pod      *corev1.Pod
	volume   *volume
	user     types.UID
	// again is when to look again by itself.
	again time.Duration
}

// after makes the agent look again in a while, at the latest.
func (t *turn) after(wait time.Duration) {
	if t.again == 0 || wait < t.again {
		t.again = max(wait, time.Millisecond)
	}
}

// act does what can be done at once, and says how the instance then is.
func (t *turn) act(ctx context.Context) (*dbv1.DatabaseInstanceStatus, error) {
	status := &dbv1.DatabaseInstanceStatus{
		Role: dbv1.RoleNone, PodUID: string(t.pod.UID), ServiceAccountUID: string(t.user), AgentVersion: "simulated", ObservedGeneration: t.instance.Generation,
		Conditions: t.instance.DeepCopy().Status.Conditions,
	}
	phase, message, err := t.run(ctx)
	if err != nil {
		return nil, err
	}
	if phase != dbv1.InstanceRunning {
		status.Phase, status.Message = phase, message
		t.identify(status)
		t.conditions(status)
		return status, nil
	}
	if err := t.reload(ctx); err != nil {
		return nil, err
	}
	status.Phase = dbv1.InstanceRunning
	if t.instance.Spec.SystemID == "" {
		t.identify(status)
		t.describe(status)
		status.Message = "Waiting until the system identifier is recorded"
		t.conditions(status)
		return status, nil
	}
	if status.Role, err = t.elect(ctx); err != nil {
		return nil, err
	}
	t.identify(status)
	t.describe(status)
	t.replicate(status)
	if err := t.label(ctx, status.Role); err != nil {
		return nil, err
	}
	for i := range t.instance.Spec.Accounts {
		account, err := t.account(ctx, &t.instance.Spec.Accounts[i])
		if err != nil {
			return nil, err
		}
		status.Accounts = append(status.Accounts, account)
	}
	t.conditions(status)
	return status, nil
}

// run brings the engine up, unless something stands against it.
func (t *turn) run(ctx context.Context) (phase dbv1.InstancePhase, message string, err error) {
	if t.instance.Spec.Fenced {
		t.agent.upAt = time.Time{}
		if err := t.release(ctx, t.pod); err != nil {
			return "", "", err
		}
		return dbv1.InstanceStopped, "The instance is fenced: its engine stays down until the fence is lifted", nil
	}
	if phase, message := t.fill(); phase != "" {
		return phase, message, nil
	}
	t.beginOperation()
	if t.agent.upAt.IsZero() {
		if ok, err := t.load(ctx); err != nil || !ok {
			return dbv1.InstanceStarting, "Waiting until the configuration " + t.instance.Spec.ConfigHash + " is mounted", err
		}
		t.agent.config.running = t.agent.config.settings
		t.agent.upAt = time.Now().Add(t.options.EngineStart)
		t.agent.starts++
	}
	phase, message = t.started()
	return phase, message, nil
}

// started is how an engine is that was started, some time ago.
func (t *turn) started() (phase dbv1.InstancePhase, message string) {
	wait, operating := time.Until(t.agent.upAt), t.operating() && t.volume.operationKind == dbv1.OperationRestart
	switch {
	case wait <= 0 && operating:
		t.volume.operation.Phase = dbv1.OperationSucceeded
		return dbv1.InstanceRunning, ""
	case wait <= 0:
		return dbv1.InstanceRunning, ""
	case operating:
		t.after(wait)
		return dbv1.InstanceRestarting, "Restarting, as asked by operation " + t.volume.operation.ID
	default:
		t.after(wait)
		return dbv1.InstanceStarting, "Starting the engine"
	}
}

// beginOperation stops the engine for an operation that was not carried out yet.
func (t *turn) beginOperation() {
	asked := t.instance.Spec.Operation
	if asked == nil || t.volume.operation != nil && t.volume.operation.ID == asked.ID {
		return
	}
	t.volume.operation, t.volume.operationKind = &dbv1.InstanceOperationStatus{ID: asked.ID, Phase: dbv1.OperationRunning}, asked.Kind
	switch {
	case asked.Kind == dbv1.OperationRestart:
		t.agent.upAt = time.Time{}
	case asked.Kind == dbv1.OperationSwitchover && t.agent.role != dbv1.RolePrimary:
		t.volume.operation.Phase, t.volume.operation.Message = dbv1.OperationFailed, "this instance is not the primary"
	}
}

func (t *turn) operating() bool {
	return t.volume.operation != nil && t.volume.operation.Phase == dbv1.OperationRunning
}

// fill sees to the data: it must be the wanted one, or there must be leave to make it.
func (t *turn) fill() (phase dbv1.InstancePhase, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	spec := &t.instance.Spec
	switch has := t.volume.SystemID; {
	case has != "" && spec.SystemID != "" && has != spec.SystemID:
		return dbv1.InstanceFailed, fmt.Sprintf("The volume holds the data of another database (%s, expected %s)", has, spec.SystemID)
	case has != "":
		return "", ""
	case spec.SystemID != "" && !t.canClone():
		return dbv1.InstanceFailed, "The volume is empty, but this database exists already: no new one is made in its place"
	case spec.SystemID != "":
		if wait := time.Until(t.agent.created.Add(t.options.PodStart + t.options.Bootstrap)); wait > 0 {
			t.after(wait)
			return dbv1.InstanceCloning, "Copying the data of the primary"
		}
		t.volume.SystemID, t.volume.dataID = spec.SystemID, randomHex() // a replica's copy
		return "", ""
	case !spec.Bootstrap:
		return dbv1.InstanceStopped, "The volume is empty, and this instance may not make a new database"
	}
	if wait := time.Until(t.agent.created.Add(t.options.PodStart + t.options.Bootstrap)); wait > 0 {
		t.after(wait)
		return dbv1.InstanceInitializing, "Making a new database"
	}
	t.volume.bootstrap()
	return "", ""
}

// canClone is true when somebody else is the primary.
func (t *turn) canClone() bool {
	if t.instance.Spec.Replication == nil {
		return t.instance.Spec.Ordinal != 0
	}
	l, err := t.readLease()
	if err != nil || l == nil || l.holder.Pod == "" || l.holder.Pod == t.pod.Name {
		t.after(100 * time.Millisecond)
		return false
	}
	return true
}

// replicate says where a running engine stands in replication, and whether it is ready.
func (t *turn) replicate(status *dbv1.DatabaseInstanceStatus) {
	status.Ready = true
	if t.instance.Spec.Replication == nil {
		return
	}
	status.Epoch, status.Replication = t.agent.epoch, &dbv1.InstanceReplicationStatus{}
	if status.Role == dbv1.RoleReplica {
		status.LagBytes = new(int64(0))
		status.Replication.Source, status.Replication.Streaming = t.agent.source, t.agent.source != ""
		status.Ready = t.agent.source != ""
	}
}

func (t *turn) label(ctx context.Context, role dbv1.InstanceRole) error {
	if t.pod.Labels[naming.LabelRole] == string(role) {
		return nil
	}
	return t.patchPod(ctx, t.pod, map[string]any{"metadata": map[string]any{
		"uid": t.pod.UID, "labels": map[string]string{naming.LabelRole: string(role)},
	}})
}

// account sets the password that the Secret has, and logs in.
func (t *turn) account(ctx context.Context, want *dbv1.InstanceAccount) (dbv1.InstanceAccountStatus, error) {
	is := dbv1.InstanceAccountStatus{Username: want.Username}
	if want.State == dbv1.AccountAbsent {
		t.setPassword(want.Username, "")
		is.Applied, is.Verified = true, true
		return is, nil
	}
	if before, ok := t.settled(want); ok {
		return before, nil
	}
	password := ""
	if ref := want.PasswordRef; ref != nil {
		secret, err := t.kube.CoreV1().Secrets(t.instance.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return is, fmt.Errorf("read Secret %s: %w", ref.Name, err)
		}
		if password = string(secret.Data[ref.Key]); password == "" {
			is.Message = fmt.Sprintf("Secret %s has no key %s", ref.Name, ref.Key)
			t.after(100 * time.Millisecond)
			return is, nil
		}
	}
	t.setPassword(want.Username, password)
	is.PasswordVersion, is.Applied, is.Verified = want.PasswordVersion, true, true
	return is, nil
}

// settled is what this pod reported of an account, when nothing is left to do for it.
func (t *turn) settled(want *dbv1.InstanceAccount) (dbv1.InstanceAccountStatus, bool) {
	if t.instance.Status.PodUID != string(t.pod.UID) {
		return dbv1.InstanceAccountStatus{}, false
	}
	for _, is := range t.instance.Status.Accounts {
		if is.Username == want.Username && is.Applied && is.Verified && is.PasswordVersion == want.PasswordVersion {
			return is, true
		}
	}
	return dbv1.InstanceAccountStatus{}, false
}

func (t *turn) setPassword(username, password string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.volume.passwords[username] = password
}

// identify reports what is on the volume.
func (t *turn) identify(status *dbv1.DatabaseInstanceStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	status.SystemID, status.DataID = t.volume.SystemID, t.volume.dataID
	status.Operation, status.EngineStarts, status.AppliedConfigHash = t.volume.operation.DeepCopy(), t.agent.starts, t.agent.config.applied
}

// describe reports what a running engine says of itself.
func (t *turn) describe(status *dbv1.DatabaseInstanceStatus) {
	status.PendingRestart = t.agent.config.pendingRestart(t.instance.Spec.Engine)
	for i := range t.pod.Spec.Containers {
		if container := &t.pod.Spec.Containers[i]; container.Name == naming.ContainerDatabase {
			status.ServerVersion = container.Image[strings.LastIndexByte(container.Image, ':')+1:]
		}
	}
	if t.instance.Spec.Engine == dbv1.PostgreSQL {
		status.Timeline = max(1, t.agent.epoch)
		status.Engine = &dbv1.InstanceEngineStatus{PostgreSQL: &dbv1.PostgreSQLInstanceStatus{
			InRecovery: status.Role != dbv1.RolePrimary, HotStandby: t.agent.config.hotStandby(),
		}}
	}
	if claim := find[corev1.PersistentVolumeClaim](t.claims, cache.NewObjectName(t.pod.Namespace, t.volume.Claim)); claim != nil {
		capacity := claim.Status.Capacity[corev1.ResourceStorage]
		status.Storage = &dbv1.InstanceStorageStatus{UsedBytes: capacity.Value() / 10, CapacityBytes: capacity.Value()}
	}
}

func (t *turn) conditions(status *dbv1.DatabaseInstanceStatus) {
	set := func(kind string, good bool, bad string) {
		c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: dbv1.ReasonAsExpected, ObservedGeneration: t.instance.Generation}
		if !good {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, bad, status.Message
		}
		meta.SetStatusCondition(&status.Conditions, c)
	}
	set(dbv1.ConditionReady, status.Ready, dbv1.ReasonInstanceNotReady)
	applied := status.AppliedConfigHash == t.instance.Spec.ConfigHash
	if applied && len(status.PendingRestart) > 0 {
		set(dbv1.ConditionConfigApplied, false, dbv1.ReasonRestartPending)
		return
	}
	set(dbv1.ConditionConfigApplied, applied, dbv1.ReasonConfigPending)
}

// report writes the status when it differs, and not too often. The instance must still be the one
// that was looked at: a new one of its name is another.
func (t *turn) report(ctx context.Context, status *dbv1.DatabaseInstanceStatus) error {
	before := t.instance.Status.DeepCopy()
	before.ObservedAt = nil
	if same, err := equalJSON(before, status); err != nil || same {
		return err
	}
	if wait := time.Until(t.agent.reportedAt.Add(t.options.ReportInterval)); wait > 0 {
		t.after(wait)
		return nil
	}
	status.ObservedAt = new(metav1.Now())
	patch, err := json.Marshal(map[string]any{
		"apiVersion": dbv1.SchemeGroupVersion.String(), "kind": "DatabaseInstance", "status": status,
		"metadata": map[string]any{"namespace": t.instance.Namespace, "name": t.instance.Name, "uid": t.instance.UID},
	})
	if err != nil {
		return fmt.Errorf("encode the status of %s: %w", t.instance.Name, err)
	}
	written, err := t.db.DatabaseV1().DatabaseInstances(t.instance.Namespace).Patch(ctx, t.instance.Name, types.ApplyPatchType, patch,
		metav1.PatchOptions{FieldManager: naming.AgentFieldManager, Force: new(true)}, "status")
	if err != nil {
		return fmt.Errorf("report instance %s: %w", t.instance.Name, err)
	}
	t.agent.reportedAt, t.agent.reported = time.Now(), written.ResourceVersion
	return nil
}

// older compares resource versions; what is no number is not older.
func older(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x < y
}

// equalJSON compares what would be stored: times lose their fractions there.
func equalJSON(a, b any) (bool, error) {
	one, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("encode: %w", err)
	}
	other, err := json.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("encode: %w", err)
	}
	return bytes.Equal(one, other), nil
}
