package engine

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Observation is all that a plan may depend on, gathered once at the start of a sync. Its objects
// are shared with the informers' caches: they are read, never written.
//
// A fact that could not be learned is absent, and absent means unknown: an instance without a fresh
// report is not "down", it is not known to be up.
type Observation struct {
	// Now is the one reading of the clock for this sync.
	Now time.Time
	// Database is the object that the sync is about.
	Database *dbv1.Database
	// NamespaceTerminating is true when nothing can be created any more. It is looked up only
	// for a Database that is being deleted.
	NamespaceTerminating bool
	// AgentImage is the image that the agent is copied from.
	AgentImage string

	// ServiceAccount is that of the agents, nil when there is none.
	ServiceAccount *corev1.ServiceAccount

	// The objects of the Database, by name.
	StatefulSets map[string]*appsv1.StatefulSet
	// Pods also has those that lost the labels of ours, as far as they are known to be ours.
	Pods      map[string]*corev1.Pod
	Instances map[string]*dbv1.DatabaseInstance
	// PodFailures are what the StatefulSets' controller says of pods that it cannot make, by their
	// names. It is looked up only when a pod is missing for a while.
	PodFailures map[string]string
	// Claims also has a claim of an expected name that is not labelled as ours: a StatefulSet would
	// use it without asking.
	Claims map[string]*corev1.PersistentVolumeClaim
	// Secrets has metadata only: the operator does not hold what is in them.
	Secrets map[string]*metav1.PartialObjectMetadata
	Budgets map[string]*policyv1.PodDisruptionBudget
	// MissingServices are those that a paused Database should have and has not.
	MissingServices []string
	// Cordoned are the nodes of the pods that take no new pods. Where nodes cannot be seen, none is.
	Cordoned map[string]bool
	// Lease is the one of the primary, nil when there is none as far as is known.
	Lease *coordinationv1.Lease
	// LeaseSince is since when the Lease is seen as it is, not renewed since, by the operator's own clock;
	// LeaseMoved is true when it was seen to be renewed since the operator started.
	LeaseSince time.Time
	LeaseMoved bool
}

// report is what the agent of an instance last said, nil unless it said so as the agent of the
// pod that now exists, and can still take it back.
func (o *Observation) report(instance string) *dbv1.DatabaseInstanceStatus {
	last := o.lastReport(instance)
	if last == nil || o.isMute(instance) {
		return nil
	}
	return last
}

func (o *Observation) lastReport(instance string) *dbv1.DatabaseInstanceStatus {
	pod, dbi := o.Pods[instance], o.Instances[instance]
	if pod == nil || dbi == nil || pod.DeletionTimestamp != nil || dbi.Status.PodUID != string(pod.UID) {
		return nil
	}
	return &dbi.Status
}

// isMute is true when the API server does not accept the agent of an instance any more: its token is
// of a ServiceAccount that was deleted. What it last said may have been true for long.
//
// The kubelet gives the pod a token of the new ServiceAccount when it renews the one that it has, after
// 80 % of its time, and not earlier whatever happens to the pod: it keeps tokens by the account's name.
func (o *Observation) isMute(instance string) bool {
	last := o.lastReport(instance)
	if last == nil || last.ServiceAccountUID == "" {
		return false
	}
	return o.ServiceAccount == nil || last.ServiceAccountUID != string(o.ServiceAccount.UID)
}

// isPodReady is the kubelet's word. It asks the agent itself, and needs no token for that.
func (o *Observation) isPodReady(instance string) bool {
	pod := o.Pods[instance]
	if pod == nil || pod.DeletionTimestamp != nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// isReady is true when the agent says that the instance is ready and the kubelet agrees. The
// agent's word alone outlives its node.
func (o *Observation) isReady(instance string) bool {
	report := o.report(instance)
	return report != nil && report.Ready && o.isPodReady(instance)
}
