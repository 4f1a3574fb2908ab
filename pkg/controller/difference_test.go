package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// service is one as the API server keeps it after our apply: with the fields that we own, and
// with defaults that we do not.
func service(ownedFields string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: "db", Labels: map[string]string{"a": "1", "theirs": "2"},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "somebody", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: fields(`{"f:metadata":{"f:labels":{"f:theirs":{}}}}`)},
				{Manager: naming.FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: fields(ownedFields)},
			},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", Selector: map[string]string{"role": "primary"},
			Ports: []corev1.ServicePort{{Name: "database", Port: 5432, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("database")}},
		},
	}
}

func fields(text string) *metav1.FieldsV1 {
	out := &metav1.FieldsV1{}
	out.SetRawBytes([]byte(text))
	return out
}

const allOwned = `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:selector":{},"f:ports":{"k:{\"port\":5432,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}`

// A selector is owned as a whole, and so is the spec of an instance: what is not rendered any more must go.
func TestADifferenceIsAlsoWhatIsNotRenderedAnyMore(t *testing.T) {
	live := service(allOwned)
	live.Spec.Selector["database"] = "db"
	rendered, err := toJSON(corev1ac.Service("db", "ns").WithLabels(map[string]string{"a": "1"}).WithSpec(corev1ac.ServiceSpec().
		WithSelector(map[string]string{"role": "primary"}).WithPorts(corev1ac.ServicePort().WithName("database").WithPort(5432))))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := difference(rendered, live); got != ".spec.selector" || err != nil {
		t.Errorf("difference %q, %v", got, err)
	}

	instance := &dbv1.DatabaseInstance{
		ObjectMeta: metav1.ObjectMeta{Name: "db-0", ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: naming.FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: fields(`{"f:spec":{}}`)},
		}},
		Spec: dbv1.DatabaseInstanceSpec{DatabaseName: "db", Engine: dbv1.PostgreSQL},
	}
	spec := dbv1ac.DatabaseInstanceSpec().WithDatabaseName("db").WithEngine(dbv1.PostgreSQL).WithOrdinal(0).WithBootstrap(false)
	if rendered, err = toJSON(dbv1ac.DatabaseInstance("db-0", "ns").WithSpec(spec)); err != nil {
		t.Fatal(err)
	}
	if got, err := difference(rendered, instance); got != "" || err != nil {
		t.Errorf("difference %q, %v: zero is as good as nothing", got, err)
	}
	for name, change := range map[string]func(){
		"an operation that is not asked for any more": func() { instance.Spec.Operation = &dbv1.InstanceOperation{ID: "1"} },
		"a fence that is lifted":                      func() { instance.Spec.Operation, instance.Spec.Fenced = nil, true },
		"somebody else's spec":                        func() { instance.Spec.Fenced, instance.ManagedFields[0].FieldsV1 = false, fields(`{"f:metadata":{}}`) },
	} {
		change()
		if got, err := difference(rendered, instance); got != ".spec" || err != nil {
			t.Errorf("%s: difference %q, %v", name, got, err)
		}
	}
}

func TestDifference(t *testing.T) {
	desired := func() *corev1ac.ServiceApplyConfiguration {
		return corev1ac.Service("db", "ns").WithLabels(map[string]string{"a": "1"}).WithSpec(corev1ac.ServiceSpec().
			WithSelector(map[string]string{"role": "primary"}).
			WithPorts(corev1ac.ServicePort().WithName("database").WithPort(5432)))
	}
	for name, c := range map[string]struct {
		rendered *corev1ac.ServiceApplyConfiguration
		owned    string
		want     string
	}{
		"nothing":                      {desired(), allOwned, ""},
		"another value":                {desired().WithLabels(map[string]string{"a": "other"}), allOwned, ".metadata.labels.a"},
		"a new field":                  {desired().WithAnnotations(map[string]string{"b": "1"}), allOwned, ".metadata.annotations"},
		"a field that is not rendered": {corev1ac.Service("db", "ns").WithSpec(desired().Spec), allOwned, ".metadata"},
		"a field that somebody took":   {desired(), `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:ports":{"k:{\"port\":5432,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}`, ".spec.selector"},
		"another item in a list": {func() *corev1ac.ServiceApplyConfiguration {
			d := desired()
			d.Spec.WithPorts(corev1ac.ServicePort().WithName("agent").WithPort(8008))
			return d
		}(), allOwned, ".spec.ports"},
		"an item whose field is another": {desired().WithSpec(corev1ac.ServiceSpec().WithSelector(map[string]string{"role": "primary"}).WithPorts(corev1ac.ServicePort().WithName("db").WithPort(5432))), allOwned, `.spec.ports[k:{"port":5432,"protocol":"TCP"}].name`},
		"an item that is not rendered":   {desired().WithSpec(corev1ac.ServiceSpec().WithSelector(map[string]string{"role": "primary"}).WithPorts(corev1ac.ServicePort().WithName("database").WithPort(5433))), allOwned, `.spec.ports[k:{"port":5432,"protocol":"TCP"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			rendered, err := toJSON(c.rendered)
			if err != nil {
				t.Fatal(err)
			}
			got, err := difference(rendered, service(c.owned))
			if err != nil || got != c.want {
				t.Errorf("difference at %q, %v; want %q", got, err, c.want)
			}
		})
	}
	t.Run("an object that we never applied", func(t *testing.T) {
		live := service(allOwned)
		live.ManagedFields = live.ManagedFields[:1]
		rendered, err := toJSON(desired())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := difference(rendered, live); err != nil || got == "" {
			t.Errorf("difference at %q, %v; want one", got, err)
		}
	})
}
