package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/cache"

	"github.com/platform-io/database-operator/pkg/naming"
)

// The StatefulSet controller, the volumes and the kubelet.

const (
	// NodeName is the node that pods say they run on, if no others are given. There is no such object.
	NodeName = "simulated"

	finalizerClaim = "kubernetes.io/pvc-protection"
)

// syncSet makes the missing claims and pods of a StatefulSet, and deletes the pods beyond its size.
func (s *Simulation) syncSet(ctx context.Context, name cache.ObjectName) error {
	set := find[appsv1.StatefulSet](s.sets, name)
	if set == nil || set.DeletionTimestamp != nil {
		return nil // the collector sees to its pods
	}
	replicas := int32(1)
	if set.Spec.Replicas != nil {
		replicas = *set.Spec.Replicas
	}
	for ordinal := range replicas {
		if err := s.syncOrdinal(ctx, set, ordinal); err != nil {
			return err
		}
	}
	for _, pod := range s.podsOf(set) {
		if ordinalOf(pod) >= int(replicas) && pod.DeletionTimestamp == nil {
			if err := s.deletePod(ctx, pod); err != nil {
				return err
			}
		}
	}
	return s.reportSet(ctx, set)
}

func (s *Simulation) syncOrdinal(ctx context.Context, set *appsv1.StatefulSet, ordinal int32) error {
	name := cache.NewObjectName(set.Namespace, naming.Instance(set.Name, ordinal))
	pod := find[corev1.Pod](s.pods, name)
	switch {
	case pod == nil:
		for i := range set.Spec.VolumeClaimTemplates {
			if err := s.createClaim(ctx, set, &set.Spec.VolumeClaimTemplates[i], name.Name); err != nil {
				return err
			}
		}
		return s.createPod(ctx, set, ordinal)
	case pod.DeletionTimestamp != nil:
		return nil // its end wakes us
	case metav1.GetControllerOf(pod) == nil:
		return s.adopt(ctx, set, pod)
	default:
		return nil
	}
}

func (s *Simulation) createClaim(ctx context.Context, set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, pod string) error {
	claim := template.DeepCopy()
	claim.Name, claim.Namespace = template.Name+"-"+pod, set.Namespace
	claim.Labels = merged(template.Labels, set.Spec.Selector.MatchLabels)
	claim.Status = corev1.PersistentVolumeClaimStatus{}
	if find[corev1.PersistentVolumeClaim](s.claims, cache.MetaObjectToName(claim)) != nil {
		return nil
	}
	_, err := s.kube.CoreV1().PersistentVolumeClaims(set.Namespace).Create(ctx, claim, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create claim %s: %w", claim.Name, err)
	}
	return nil
}

func (s *Simulation) createPod(ctx context.Context, set *appsv1.StatefulSet, ordinal int32) error {
	template := set.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Namespace = naming.Instance(set.Name, ordinal), set.Namespace
	pod.Labels = merged(template.Labels, map[string]string{
		appsv1.StatefulSetPodNameLabel: pod.Name, appsv1.PodIndexLabel: strconv.Itoa(int(ordinal)),
		appsv1.ControllerRevisionHashLabelKey: revision(set),
	})
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
	pod.Spec.NodeName, pod.Spec.Hostname, pod.Spec.Subdomain = s.options.Nodes[int(ordinal)%len(s.options.Nodes)], pod.Name, set.Spec.ServiceName
	for i := range set.Spec.VolumeClaimTemplates {
		volume := set.Spec.VolumeClaimTemplates[i].Name
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: volume + "-" + pod.Name},
		}})
	}
	if _, err := s.kube.CoreV1().Pods(set.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return errors.Join(fmt.Errorf("create pod %s: %w", pod.Name, err), s.complain(ctx, set, pod.Name, err))
	}
	return nil
}

// complain says in an event why there is no pod, as the StatefulSet controller does.
func (s *Simulation) complain(ctx context.Context, set *appsv1.StatefulSet, pod string, failure error) error {
	now := metav1.Now()
	_, err := s.kube.CoreV1().Events(set.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: set.Name + "." + rand.String(8)},
		InvolvedObject: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: set.Namespace, Name: set.Name, UID: set.UID},
		Type:           corev1.EventTypeWarning, Reason: "FailedCreate", FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source:  corev1.EventSource{Component: "statefulset-controller"},
		Message: fmt.Sprintf("create Pod %s in StatefulSet %s failed error: %v", pod, set.Name, failure),
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}

// adopt takes over a pod that an earlier StatefulSet of this name left behind.
func (s *Simulation) adopt(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	patch := map[string]any{"metadata": map[string]any{
		"uid":             pod.UID,
		"ownerReferences": []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))},
	}}
	return s.patchPod(ctx, pod, patch)
}

func (s *Simulation) patchPod(ctx context.Context, pod *corev1.Pod, patch any) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode a patch: %w", err)
	}
	if _, err := s.kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, data, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch pod %s: %w", pod.Name, err)
	}
	return nil
}

func (s *Simulation) deletePod(ctx context.Context, pod *corev1.Pod) error {
	err := s.kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	return nil
}

// reportSet writes the status of a StatefulSet, as far as somebody may look at it.
func (s *Simulation) reportSet(ctx context.Context, set *appsv1.StatefulSet) error {
	status := appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, UpdateRevision: revision(set), CurrentRevision: set.Status.CurrentRevision}
	if status.CurrentRevision == "" {
		status.CurrentRevision = status.UpdateRevision
	}
	for _, pod := range s.podsOf(set) {
		status.Replicas++
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == status.UpdateRevision {
			status.UpdatedReplicas++
		}
		if isReady(pod) {
			status.ReadyReplicas++
			status.AvailableReplicas++
		}
	}
	status.CurrentReplicas = status.UpdatedReplicas
	if is := set.Status; is.ObservedGeneration == status.ObservedGeneration && is.Replicas == status.Replicas &&
		is.ReadyReplicas == status.ReadyReplicas && is.UpdatedReplicas == status.UpdatedReplicas && is.UpdateRevision == status.UpdateRevision {
		return nil
	}
	fresh := set.DeepCopy()
	fresh.Status = status
	if _, err := s.kube.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, fresh, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("report StatefulSet %s: %w", set.Name, err)
	}
	return nil
}

func (s *Simulation) podsOf(set *appsv1.StatefulSet) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, object := range indexed(s.pods, indexOwner, string(set.UID)) {
		if pod, ok := object.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods
}

// syncClaim binds a claim, grows it, and lets it go when no pod uses it any more.
func (s *Simulation) syncClaim(ctx context.Context, name cache.ObjectName) error {
	claim := find[corev1.PersistentVolumeClaim](s.claims, name)
	if claim == nil {
		return nil
	}
	claims := s.kube.CoreV1().PersistentVolumeClaims(name.Namespace)
	if claim.DeletionTimestamp != nil {
		if len(claim.Finalizers) != 1 || claim.Finalizers[0] != finalizerClaim || s.inUse(claim) {
			return nil // the pod's end wakes us
		}
		fresh := claim.DeepCopy()
		fresh.Finalizers = nil
		if _, err := claims.Update(ctx, fresh, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("let claim %s go: %w", name.Name, err)
		}
		return nil
	}
	wanted := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if claim.Status.Phase == corev1.ClaimBound && wanted.Cmp(claim.Status.Capacity[corev1.ResourceStorage]) <= 0 {
		return nil
	}
	fresh := claim.DeepCopy()
	fresh.Status.Phase, fresh.Status.AccessModes = corev1.ClaimBound, claim.Spec.AccessModes
	fresh.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: wanted}
	if _, err := claims.UpdateStatus(ctx, fresh, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("bind claim %s: %w", name.Name, err)
	}
	return nil
}

func (s *Simulation) inUse(claim *corev1.PersistentVolumeClaim) bool {
	return len(indexed(s.pods, indexClaim, claim.Namespace+"/"+claim.Name)) > 0
}

// syncPod is the kubelet: it runs a pod, says whether it is ready, and stops it.
func (s *Simulation) syncPod(ctx context.Context, name cache.ObjectName) (time.Duration, error) {
	pod := find[corev1.Pod](s.pods, name)
	if pod == nil {
		return 0, nil
	}
	if pod.DeletionTimestamp != nil {
		return s.stopPod(ctx, pod)
	}
	agent := s.agentOf(pod)
	if wait := time.Until(agent.created.Add(s.options.PodStart)); wait > 0 {
		return wait, nil
	}
	if pod.Status.Phase == corev1.PodRunning && isReady(pod) == agent.ready() {
		return 0, nil
	}
	fresh := pod.DeepCopy()
	s.runPod(fresh, agent.ready())
	if _, err := s.kube.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, fresh, metav1.UpdateOptions{}); err != nil {
		return 0, fmt.Errorf("report pod %s: %w", pod.Name, err)
	}
	return 0, nil
}

func (s *Simulation) stopPod(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	agent := s.agentOf(pod)
	if wait := agent.stop(s.options.PodStop); wait > 0 {
		return wait, nil
	}
	if err := s.release(ctx, pod); err != nil {
		return 0, err
	}
	err := s.kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64(0)), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("end pod %s: %w", pod.Name, err)
	}
	s.forget(pod)
	return 0, nil
}

func (s *Simulation) runPod(pod *corev1.Pod, ready bool) {
	now := metav1.Now()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Phase = corev1.PodRunning
	if pod.Status.StartTime == nil {
		pod.Status.StartTime = &now
	}
	pod.Status.Conditions = nil
	for kind, value := range map[corev1.PodConditionType]corev1.ConditionStatus{
		corev1.PodScheduled: corev1.ConditionTrue, corev1.PodInitialized: corev1.ConditionTrue,
		corev1.ContainersReady: status, corev1.PodReady: status,
	} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: value, LastTransitionTime: now})
	}
	pod.Status.ContainerStatuses = nil
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: container.Image, Ready: ready, Started: new(true),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: *pod.Status.StartTime}},
		})
	}
}

func isReady(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func ordinalOf(pod *corev1.Pod) int {
	ordinal, err := strconv.Atoi(pod.Name[strings.LastIndexByte(pod.Name, '-')+1:])
	if err != nil {
		return -1
	}
	return ordinal
}

// revision identifies a template, as the label controller-revision-hash does.
func revision(set *appsv1.StatefulSet) string {
	hash := fnv.New32a()
	if err := json.NewEncoder(hash).Encode(&set.Spec.Template); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%s-%x", set.Name, hash.Sum32())
}

func merged(base, over map[string]string) map[string]string {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, over)
	return out
}
