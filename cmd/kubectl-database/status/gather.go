// Package status shows how Databases are: Gather and List read, Text and Table render. Rendering is
// a pure function of what was read and of the time.
package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Report is one Database with all that says how it is. No Secret is among it.
type Report struct {
	Database  *dbv1.Database                 `json:"database"`
	Instances []dbv1.DatabaseInstance        `json:"instances"`
	Pods      []corev1.Pod                   `json:"pods"`
	Claims    []corev1.PersistentVolumeClaim `json:"claims"`
	// Lease is the one by which the instances elect their primary; nil when there is none.
	Lease   *coordinationv1.Lease `json:"lease,omitempty"`
	Backups []dbv1.DatabaseBackup `json:"backups"`
	// Warnings are the events of type Warning about the Database and its objects, oldest first.
	Warnings []eventsv1.Event `json:"warnings"`
	// Unread says what could not be read.
	Unread []Unread `json:"unread,omitempty"`
}

// Unread is a part of a report that could not be read.
type Unread struct {
	Part   string `json:"part"`
	Reason string `json:"reason"`
}

// The parts whose absence changes what the others say.
const (
	partInstances = "instances"
	partPods      = "pods"
	partBackups   = "backups"
)

func (r *Report) unread(part string) bool {
	return slices.ContainsFunc(r.Unread, func(u Unread) bool { return u.Part == part })
}

// Reader reads what a report is made of.
type Reader struct {
	Kube      kubernetes.Interface
	Databases versioned.Interface
}

// Gather reads one Database and what belongs to it. Only the Database itself must be readable: what
// else the user may not read is named in the report.
func (r Reader) Gather(ctx context.Context, namespace, name string) (*Report, error) {
	db, err := r.Databases.DatabaseV1().Databases(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	db.SetGroupVersionKind(dbv1.SchemeGroupVersion.WithKind("Database"))
	report := &Report{Database: db}
	parts := []struct {
		what string
		read func(context.Context, *Report) error
	}{
		{partInstances, r.readInstances},
		{partPods, r.readPods},
		{"claims", r.readClaims},
		{"leases", r.readLease},
		{partBackups, r.readBackups},
		{"events", r.readWarnings},
	}
	errs := make([]error, len(parts))
	var group sync.WaitGroup
	for i, part := range parts {
		group.Go(func() { errs[i] = part.read(ctx, report) })
	}
	group.Wait()
	for i, part := range parts {
		switch err := errs[i]; {
		case apierrors.IsForbidden(err):
			report.Unread = append(report.Unread, Unread{Part: part.what, Reason: "you may not list them"})
		case err != nil:
			return nil, fmt.Errorf("list %s: %w", part.what, err)
		}
	}
	report.Warnings = relevant(report)
	report.trim()
	return report, nil
}

// List reads all Databases of a namespace, or of all namespaces when it is empty.
func (r Reader) List(ctx context.Context, namespace string) ([]dbv1.Database, error) {
	list, err := r.Databases.DatabaseV1().Databases(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(dbv1.SchemeGroupVersion.WithKind("Database"))
		list.Items[i].ManagedFields = nil
	}
	slices.SortFunc(list.Items, func(a, b dbv1.Database) int {
		if a.Namespace != b.Namespace {
			return strings.Compare(a.Namespace, b.Namespace)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list.Items, nil
}

// ofDatabase selects the objects that the operator made for a Database.
func ofDatabase(name string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: labels.SelectorFromSet(naming.SelectorLabels(name)).String()}
}

func (r Reader) readInstances(ctx context.Context, report *Report) error {
	db := report.Database
	list, err := r.Databases.DatabaseV1().DatabaseInstances(db.Namespace).List(ctx, ofDatabase(db.Name))
	if err != nil {
		return err
	}
	report.Instances = list.Items
	slices.SortFunc(report.Instances, func(a, b dbv1.DatabaseInstance) int {
		if a.Spec.Group != b.Spec.Group {
			return strings.Compare(a.Spec.Group, b.Spec.Group)
		}
		return int(a.Spec.Ordinal) - int(b.Spec.Ordinal)
	})
	return nil
}

func (r Reader) readPods(ctx context.Context, report *Report) error {
	db := report.Database
	list, err := r.Kube.CoreV1().Pods(db.Namespace).List(ctx, ofDatabase(db.Name))
	if err != nil {
		return err
	}
	report.Pods = list.Items
	return nil
}

func (r Reader) readLease(ctx context.Context, report *Report) error {
	db := report.Database
	list, err := r.Kube.CoordinationV1().Leases(db.Namespace).List(ctx, ofDatabase(db.Name))
	if err != nil {
		return err
	}
	for i := range list.Items {
		if list.Items[i].Name == naming.Lease(db.Name) {
			report.Lease = &list.Items[i]
		}
	}
	return nil
}

func (r Reader) readClaims(ctx context.Context, report *Report) error {
	db := report.Database
	list, err := r.Kube.CoreV1().PersistentVolumeClaims(db.Namespace).List(ctx, ofDatabase(db.Name))
	if err != nil {
		return err
	}
	report.Claims = list.Items
	return nil
}

// readBackups reads all backups of the namespace: a user's own have no labels of ours.
func (r Reader) readBackups(ctx context.Context, report *Report) error {
	db := report.Database
	all := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return r.Databases.DatabaseV1().DatabaseBackups(db.Namespace).List(ctx, options)
	}))
	return all.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		if backup, ok := object.(*dbv1.DatabaseBackup); ok && backup.Spec.DatabaseName == db.Name {
			report.Backups = append(report.Backups, *backup)
		}
		return nil
	})
}

// readWarnings reads all warnings of the namespace; which of them matter is known when the other
// objects are read. They live for an hour by default, so there are not many.
func (r Reader) readWarnings(ctx context.Context, report *Report) error {
	all := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return r.Kube.EventsV1().Events(report.Database.Namespace).List(ctx, options)
	}))
	return all.EachListItem(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning}, func(object runtime.Object) error {
		if event, ok := object.(*eventsv1.Event); ok && event.Type == corev1.EventTypeWarning {
			report.Warnings = append(report.Warnings, *event)
		}
		return nil
	})
}

// relevant are the warnings about the Database and its objects, oldest first. Pods come and go, so
// objects are known by their names; those of a former Database of the same name, by their UID or their time.
func relevant(report *Report) []eventsv1.Event {
	name := report.Database.Name
	ours := map[string]bool{"Database/" + name: true, "StatefulSet/" + name: true, "CronJob/" + name + "-backup": true}
	for i := range report.Instances {
		instance := report.Instances[i].Name
		ours["DatabaseInstance/"+instance] = true
		ours["Pod/"+instance] = true
		ours["PersistentVolumeClaim/"+naming.Claim(instance)] = true
		ours["StatefulSet/"+report.Instances[i].Spec.Group] = true
	}
	for i := range report.Backups {
		ours["DatabaseBackup/"+report.Backups[i].Name] = true
	}
	var events []eventsv1.Event
	for i := range report.Warnings {
		event := &report.Warnings[i]
		about := event.Regarding
		former := about.Kind == "Database" && about.UID != "" && about.UID != report.Database.UID ||
			lastSeen(event).Time.Before(report.Database.CreationTimestamp.Time)
		if ours[about.Kind+"/"+about.Name] && !former {
			events = append(events, *event)
		}
	}
	slices.SortStableFunc(events, func(a, b eventsv1.Event) int { return lastSeen(&a).Compare(lastSeen(&b).Time) })
	return events
}

// trim drops what nobody reads.
func (r *Report) trim() {
	r.Database.ManagedFields = nil
	if r.Lease != nil {
		r.Lease.ManagedFields = nil
		r.Lease.SetGroupVersionKind(coordinationv1.SchemeGroupVersion.WithKind("Lease"))
	}
	for i := range r.Instances {
		r.Instances[i].ManagedFields = nil
		r.Instances[i].SetGroupVersionKind(dbv1.SchemeGroupVersion.WithKind("DatabaseInstance"))
	}
	for i := range r.Backups {
		r.Backups[i].ManagedFields = nil
		r.Backups[i].SetGroupVersionKind(dbv1.SchemeGroupVersion.WithKind("DatabaseBackup"))
	}
	for i := range r.Pods {
		r.Pods[i].ManagedFields = nil
		r.Pods[i].SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	}
	for i := range r.Claims {
		r.Claims[i].ManagedFields = nil
		r.Claims[i].SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"))
	}
	for i := range r.Warnings {
		r.Warnings[i].ManagedFields = nil
		r.Warnings[i].SetGroupVersionKind(eventsv1.SchemeGroupVersion.WithKind("Event"))
	}
}
