package engine

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	"github.com/platform-io/database-operator/pkg/naming"
)

// instanceTrouble says why an instance does not serve, in the words of whoever knows: the agent,
// else the kubelet, else the scheduler. It is "" when the instance serves.
func (p *planner) instanceTrouble(name string) string {
	if p.isReady(name) {
		if p.report(name).Role == dbv1.RolePrimary && p.Pods[name].Labels[naming.LabelRole] != string(dbv1.RolePrimary) {
			return "pod " + name + " has not got the label " + naming.LabelRole + "=primary yet, by which the Service finds it"
		}
		return ""
	}
	pod := p.Pods[name]
	if pod == nil {
		return p.absentPod(name)
	}
	if why := podTrouble(pod); why != "" {
		return "pod " + name + ": " + why + p.whilePaused()
	}
	report := p.report(name)
	switch {
	case report == nil:
		return p.silence(name)
	case report.Message != "":
		return "instance " + name + " is " + string(report.Phase) + ": " + report.Message
	case p.formerHolder() != "":
		return fmt.Sprintf("instance %s is %s and waits until Lease %s, which a pod %s before it had, has not been renewed for %s", name, report.Phase, p.Lease.Name,
			p.formerHolder(), dbv1.HighAvailability(p.Database).LeaseDuration.Duration)
	}
	return "instance " + name + " is " + string(report.Phase)
}

// absentPod is why an instance has no pod.
func (p *planner) absentPod(name string) string {
	switch {
	case p.PodFailures[name] != "":
		return "pod " + name + " cannot be made: " + p.PodFailures[name] + p.whilePaused()
	case p.Database.Spec.Lifecycle.Paused && !p.isAskedFor(name):
		return "pod " + name + " does not exist" + p.whilePaused()
	}
	return "pod " + name + " does not exist yet; if it does not come, kubectl describe statefulset " + p.Database.Name + " says why" + p.whilePaused()
}

// isAskedFor is true when there is a StatefulSet that is to make the pod of an instance.
func (p *planner) isAskedFor(name string) bool {
	for _, group := range p.shape.Groups {
		set := p.StatefulSets[group.Name]
		if ordinal, ok := ordinalIn(group, name); ok && set != nil && set.Spec.Replicas != nil && ordinal < *set.Spec.Replicas {
			return true
		}
	}
	return false
}

// whilePaused ends a message about what may wait for the operator: while it is paused, it will not come.
func (p *planner) whilePaused() string {
	if !p.Database.Spec.Lifecycle.Paused {
		return ""
	}
	return "; nothing is made or changed while spec.lifecycle.paused is true"
}

// silence is why there is no report to go by.
func (p *planner) silence(name string) string {
	if !p.isMute(name) {
		return "instance " + name + " has not reported yet" + p.whilePaused()
	}
	return fmt.Sprintf("the agent of instance %s cannot report: its token is of a ServiceAccount %s that was deleted. "+
		"The database goes on, but what it is like is not known. The kubelet renews the token within an hour; deleting pod %s renews it at once.",
		name, naming.Agent(p.Database.Name), name)
}

// podTrouble says what keeps a pod from running.
func podTrouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + c.Message
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range statuses {
			if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
				return fmt.Sprintf("container %s: %s: %s", s.Name, w.Reason, w.Message)
			}
		}
	}
	return ""
}

// reportCredentials: the published credentials log in. Only the agent can know, and says so of
// each account and password.
func (p *planner) reportCredentials() {
	if p.isObstructed(dbv1.ConditionCredentialsSynced) {
		return
	}
	if !p.isPublished() {
		p.condition(dbv1.ConditionCredentialsSynced, no, dbv1.ReasonCredentialsPending,
			"Secret "+naming.Credentials(p.Database.Name)+" is being made"+p.whilePaused())
		return
	}
	// The primary's agent makes accounts; those of replicas come with the data.
	for _, name := range p.shape.InstanceNames() {
		if why := p.accountTrouble(name); why != "" {
			p.condition(dbv1.ConditionCredentialsSynced, no, dbv1.ReasonCredentialsPending, "instance "+name+": "+why)
			return
		}
	}
	// What was verified before stays true while an agent is away, or has just taken over.
	if p.isTrue(dbv1.ConditionCredentialsSynced) {
		return
	}
	switch {
	case p.primary == "":
		_, _, why := p.primaryTrouble()
		p.condition(dbv1.ConditionCredentialsSynced, unknown, dbv1.ReasonUnknown, why)
	case p.accountOf(p.primary) == nil:
		p.condition(dbv1.ConditionCredentialsSynced, no, dbv1.ReasonCredentialsPending,
			"instance "+p.primary+": account "+p.username()+" is not made yet")
	default:
		p.condition(dbv1.ConditionCredentialsSynced, yes, dbv1.ReasonAsExpected, "")
	}
}

// isPublished is true when the published credentials derive from the master copy and the spec. Those for the spec
// before are right for as long as the new one breaks a rule.
func (p *planner) isPublished() bool {
	published := p.Secrets[naming.Credentials(p.Database.Name)]
	if p.passwordVersion() == "" || published == nil {
		return false
	}
	return !p.isTrue(dbv1.ConditionValidated) || published.Annotations[naming.AnnotationSource] == p.credentialsSource()
}

// accountOf is what an instance reports of the application's account, nil when it says nothing.
func (p *planner) accountOf(name string) *dbv1.InstanceAccountStatus {
	report := p.report(name)
	if report == nil {
		return nil
	}
	for i := range report.Accounts {
		if report.Accounts[i].Username == p.username() {
			return &report.Accounts[i]
		}
	}
	return nil
}

// accountTrouble is what an instance says against the published login. A replica that says nothing
// says nothing against it.
func (p *planner) accountTrouble(name string) string {
	account := p.accountOf(name)
	switch {
	case account == nil:
		return ""
	case account.Message != "":
		return "account " + account.Username + ": " + account.Message
	case name != p.primary:
		return ""
	case account.PasswordVersion != p.passwordVersion() || !account.Applied:
		return "account " + account.Username + " does not have the published password yet"
	case !account.Verified:
		return "account " + account.Username + " has not logged in with the published password yet"
	}
	return ""
}

// reportUpToDate: every instance runs what the spec says. It also lists the steps that wait.
func (p *planner) reportUpToDate() {
	p.status.Plan = p.waitingRequest()
	for _, r := range p.restarts {
		step := dbv1.PlannedStep{Kind: r.kind, Target: r.instance, Reason: r.reason, HeldBy: r.heldBy}
		if !r.notBefore.IsZero() {
			step.NotBefore = new(metav1.NewTime(r.notBefore))
		}
		p.status.Plan = append(p.status.Plan, step)
	}
	leaving, why := p.reportLeaving()
	if p.isObstructed(dbv1.ConditionUpToDate) {
		return
	}
	if message := p.gaps()[dbv1.ConditionUpToDate]; message != "" {
		p.condition(dbv1.ConditionUpToDate, no, dbv1.ReasonNotSupported, message)
		return
	}
	if reason, message := p.staleness(); reason != "" {
		status := no
		if reason == dbv1.ReasonAgentUnauthorized {
			status = unknown
		}
		p.condition(dbv1.ConditionUpToDate, status, reason, message)
		return
	}
	for _, name := range p.shape.InstanceNames() {
		if p.report(name) == nil {
			p.condition(dbv1.ConditionUpToDate, unknown, dbv1.ReasonUnknown, p.silence(name))
			return
		}
	}
	if leaving != "" {
		p.condition(dbv1.ConditionUpToDate, no, leaving, why)
		return
	}
	p.condition(dbv1.ConditionUpToDate, yes, dbv1.ReasonAsExpected, "")
}

// staleness is why an instance does not run what the spec says: a refusal first, because no
// waiting ends it.
func (p *planner) staleness() (reason, message string) {
	if refusal := p.configRefusal(); refusal != "" {
		return dbv1.ReasonConfigRefused, refusal
	}
	for _, name := range p.shape.InstanceNames() {
		if reason, message := p.instanceStaleness(name); reason != "" {
			return reason, message
		}
	}
	for _, r := range p.restarts {
		switch r.heldBy {
		case "", GuardRestarting:
			return dbv1.ReasonRestarting, "instance " + r.instance + " is being restarted: " + r.reason
		case GuardOperation:
			return dbv1.ReasonRestarting, "instance " + r.instance + " has its turn after the operation under way" + p.heldBecause(r)
		case GuardOperatorRelease:
			continue
		}
		message := fmt.Sprintf("instance %s waits for a restart (%s), held by guard %s%s", r.instance, r.reason, r.heldBy, p.heldBecause(r))
		if !r.notBefore.IsZero() {
			message += " until " + r.notBefore.UTC().Format("2006-01-02 15:04 MST")
		}
		return dbv1.ReasonRestartPending, message
	}
	return "", ""
}

// heldBecause says what a guard found.
func (p *planner) heldBecause(r restart) string {
	switch r.heldBy {
	case GuardOneAtATime:
		return p.troubleElsewhere(r.instance)
	case GuardNoCandidate, GuardLastSynchronised:
		return ": see condition " + dbv1.ConditionReplicationHealthy
	case GuardSwitchoverAborted:
		return ": " + p.Database.Status.Operation.Message
	case GuardMemoryInUse:
		return fmt.Sprintf(": its data would not fit; raise spec.resources.limits.memory by at least %dMi, or remove data", p.memoryLacking(r.instance)>>20+1)
	case GuardPrimaryFirst:
		if p.primary != "" {
			return ": instance " + p.primary + " is restarted before"
		}
	case GuardReplicasFirst:
		return ": replicas are restarted before"
	case GuardConfigPending:
		return ": instance " + p.unread() + " has not read the configuration yet"
	case GuardOperation:
		return ": " + p.Database.Status.Operation.Kind + " " + p.Database.Status.Operation.Message
	}
	return ""
}

// troubleElsewhere is why another instance does not serve.
func (p *planner) troubleElsewhere(than string) string {
	if name := p.disrupted(); name != "" && name != than && p.Pods[name] != nil {
		return ": " + p.instanceTrouble(name)
	}
	return ""
}

// gaps are what the spec asks for and this release cannot do, by the condition that says so.
func (p *planner) gaps() map[string]string {
	gaps := map[string]string{}
	for _, gap := range p.engine.Gaps(p.Database) {
		if before := gaps[gap.Condition]; before != "" {
			gap.Message = before + "; " + gap.Message
		}
		gaps[gap.Condition] = gap.Message
	}
	return gaps
}

// reportFeatures says of every feature that was asked for whether this release can do it. A feature is never
// silently missing.
func (p *planner) reportFeatures() {
	gaps := p.gaps()
	for _, kind := range []string{
		dbv1.ConditionBackupConfigured, dbv1.ConditionContinuousArchiving, dbv1.ConditionReplicationHealthy,
		dbv1.ConditionConsulSynced, dbv1.ConditionTLSReady, dbv1.ConditionMetricsReady, dbv1.ConditionRotationReady,
		dbv1.ConditionMaintenanceReady, dbv1.ConditionRestored,
	} {
		if kind == dbv1.ConditionReplicationHealthy && p.hasReplicas() {
			continue
		}
		if message := gaps[kind]; message != "" {
			p.condition(kind, no, dbv1.ReasonNotSupported, message)
		} else {
			meta.RemoveStatusCondition(&p.status.Conditions, kind)
		}
	}
	p.reportProduction(gaps)
}

// reportProduction warns of what a production database should not lack, also where the spec asks for it in vain.
func (p *planner) reportProduction(gaps map[string]string) {
	if dbv1.EffectiveProfile(p.Database) != dbv1.ProfileProd {
		meta.RemoveStatusCondition(&p.status.Conditions, dbv1.ConditionProductionReady)
		return
	}
	var missing []string
	if !dbv1.BackupEnabled(p.Database) {
		missing = append(missing, "spec.backup.enabled is false: a lost volume loses the data")
	}
	for _, kind := range []string{dbv1.ConditionBackupConfigured, dbv1.ConditionTLSReady} {
		if gaps[kind] != "" {
			missing = append(missing, gaps[kind])
		}
	}
	if dbv1.Replicas(p.Database) < 2 {
		missing = append(missing, "spec.topology.replicas is 1: a lost node is an outage")
	}
	if r := p.Database.Spec.Resources; r == nil || r.Limits.Memory().IsZero() {
		missing = append(missing, "spec.resources.limits.memory is not set: caches are sized from the profile")
	}
	if len(missing) > 0 {
		p.condition(dbv1.ConditionProductionReady, no, dbv1.ReasonMissingForProduction, list(missing))
		return
	}
	p.condition(dbv1.ConditionProductionReady, yes, dbv1.ReasonAsExpected, "")
}

// configRefusal is what an instance said against the wanted configuration, and not against the one before, "" when none
// did. Its word holds while its pod is away: the next one would refuse it, too.
func (p *planner) configRefusal() string {
	hash := confighash.ConfigHash(p.shape.Config)
	for _, name := range p.shape.InstanceNames() {
		dbi := p.Instances[name]
		if dbi == nil || dbi.Status.RefusedConfigHash != hash {
			continue
		}
		if c := meta.FindStatusCondition(dbi.Status.Conditions, dbv1.ConditionConfigApplied); c != nil && c.Reason == dbv1.ReasonConfigRefused {
			return "instance " + name + ": " + c.Message
		}
	}
	return ""
}

// instanceStaleness is why one instance does not.
func (p *planner) instanceStaleness(name string) (reason, message string) {
	report := p.report(name)
	switch {
	case p.isMute(name):
		return dbv1.ReasonAgentUnauthorized, p.silence(name)
	case report == nil && p.isComingBack(name):
		return dbv1.ReasonRestarting, "instance " + name + " is being restarted"
	case report == nil:
		return "", ""
	}
	if report.AppliedConfigHash != confighash.ConfigHash(p.shape.Config) {
		return dbv1.ReasonConfigPending, "instance " + name + " has not read the configuration yet" + p.whilePaused()
	}
	return "", ""
}

// isComingBack is true while a pod is away because it was deleted for a restart. One that went by itself,
// or does not come back, is no restart.
func (p *planner) isComingBack(name string) bool {
	before := meta.FindStatusCondition(p.Database.Status.Conditions, dbv1.ConditionUpToDate)
	return before != nil && before.Reason == dbv1.ReasonRestarting && (p.Pods[name] == nil || podTrouble(p.Pods[name]) == "")
}
