package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	informers "github.com/platform-io/database-operator/pkg/generated/informers/externalversions"
	"github.com/platform-io/database-operator/pkg/naming"
)

// What the agent asks of Kubernetes: its own DatabaseInstance (one list and watch, restricted to its
// name, which is what its Role allows), the Secrets of its accounts when it needs them, and its own
// pod, whose role label it sets.

// labelPeriod is the pause between looks at the pod's label.
const labelPeriod = 30 * time.Second

// watch posts every version of the DatabaseInstance. The informer retries for ever, with backoff.
func (a *Agent) watch(ctx context.Context) {
	factory := informers.NewSharedInformerFactoryWithOptions(a.Databases, 0,
		informers.WithNamespace(a.Namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("metadata.name", a.Instance).String()
		}))
	seen := func(object any) {
		if instance, ok := object.(*dbv1.DatabaseInstance); ok && instance.Name == a.Instance {
			a.post(ctx, func(m *memory) { a.take(m, instance) })
		}
	}
	informer := factory.Database().V1().DatabaseInstances().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		// A DatabaseInstance that was deleted changes nothing: the pod follows it, or a new one comes.
	}); err != nil {
		klog.FromContext(ctx).Error(err, "The DatabaseInstance cannot be watched")
		return
	}
	factory.StartWithContext(ctx)
	<-ctx.Done()
	factory.Shutdown()
}

// take learns a version of the DatabaseInstance, and keeps its spec on the volume.
func (a *Agent) take(m *memory, shared *dbv1.DatabaseInstance) {
	if m.instance == nil || m.instance.UID != shared.UID {
		m.conditions = shared.Status.Conditions
	}
	before := m.spec
	m.instance, m.spec = shared, &shared.Spec
	if before != nil {
		if equality.Semantic.DeepEqual(before, m.spec) {
			return
		}
		a.compare(m, before)
	}
	// Another wish is a reason to try again at once.
	clear(m.retryAt)
	clear(m.failures)
	if err := a.store.Update(func(s *State) { s.Spec = shared.Spec.DeepCopy() }); err != nil {
		klog.FromContext(a.background).Error(err, "The spec could not be kept on the volume")
	}
}

// compare ends what was for the spec before.
func (a *Agent) compare(m *memory, before *dbv1.DatabaseInstanceSpec) {
	spec := m.spec
	if spec.ConfigHash != before.ConfigHash {
		// Who asks for something else, and then for the same again, wants it tried again.
		a.refuse(m, "", "")
	}
	asked := spec.Operation != nil && (before.Operation == nil || before.Operation.ID != spec.Operation.ID)
	if m.busy && m.busyWith == stepConfig && (asked || spec.Fenced && !before.Fenced) {
		// A person waits for this, and the files can wait.
		m.cancel()
	}
}

// tokenOwner is the UID of the ServiceAccount that a token is of. Nobody need check the signature: the
// operator compares the UID with that of the present ServiceAccount, and the API server the token.
// The kubelet renews the file, and client-go reads it again; one that cannot be read says nothing new.
func tokenOwner(path, before string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return before
	}
	var claims struct {
		Kubernetes struct {
			ServiceAccount struct {
				UID string `json:"uid"`
			} `json:"serviceaccount"`
		} `json:"kubernetes.io"`
	}
	parts := strings.Split(string(content), ".")
	if len(parts) != 3 {
		return before
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return before
	}
	return claims.Kubernetes.ServiceAccount.UID
}

// password reads an account's password, when it has one.
func (a *Agent) password(ctx context.Context, account *dbv1.InstanceAccount) (string, error) {
	ref := account.PasswordRef
	if account.State == dbv1.AccountAbsent || ref == nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	secret, err := a.Kube.CoreV1().Secrets(a.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read its password: %w", err)
	}
	value := secret.Data[ref.Key]
	if len(value) == 0 {
		return "", fmt.Errorf("read its password: the Secret %s has no key %s", ref.Name, ref.Key)
	}
	return string(value), nil
}

// label makes the pod's label say the role. Only the pod of our own UID is changed: another one of
// the same name has its own agent.
func (a *Agent) label(role dbv1.InstanceRole, others []string) action {
	return func(ctx context.Context) (func(*memory), error) {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		if role == dbv1.RolePrimary {
			// The Service must lead to one at a time: the old one's label goes first.
			if err := a.takeLabels(ctx, others); err != nil {
				return nil, err
			}
		}
		pods := a.Kube.CoreV1().Pods(a.Namespace)
		pod, err := pods.Get(ctx, a.Instance, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("read the pod: %w", err)
		}
		if a.PodUID != "" && string(pod.UID) != a.PodUID {
			return nil, fmt.Errorf("set the role label: the pod %s is another one now", a.Instance)
		}
		if pod.Labels[naming.LabelRole] != string(role) {
			if role == dbv1.RolePrimary && a.expired() {
				return nil, errNotElected
			}
			patch, err := labelPatch(pod, role)
			if err != nil {
				return nil, err
			}
			if _, err := pods.Patch(ctx, a.Instance, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: naming.AgentFieldManager}); err != nil {
				// It may be there all the same: what the label is now, only another look tells.
				return func(m *memory) { m.labelled = "" }, fmt.Errorf("set the role label: %w", err)
			}
			klog.FromContext(ctx).Info("Set the role label", "role", role)
		}
		return func(m *memory) { m.labelled, m.labelCheckedAt = role, time.Now() }, nil
	}
}

// expired says that another instance may be the primary by now, whose label it is.
func (a *Agent) expired() bool { return a.elector != nil && a.elector.Expired() }

// labelPatch sets the role label of exactly this pod.
func labelPatch(pod *corev1.Pod, role dbv1.InstanceRole) ([]byte, error) {
	operations := []map[string]any{{"op": "test", "path": "/metadata/uid", "value": pod.UID}}
	if len(pod.Labels) == 0 {
		// There is nothing to add a label to; and nobody may have added one meanwhile.
		operations = append(operations,
			map[string]any{"op": "test", "path": "/metadata/resourceVersion", "value": pod.ResourceVersion},
			map[string]any{"op": "add", "path": "/metadata/labels", "value": map[string]string{}})
	}
	operations = append(operations, map[string]any{
		"op": "add", "path": "/metadata/labels/" + escapePointer(naming.LabelRole), "value": string(role),
	})
	patch, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encode the patch of the label: %w", err)
	}
	return patch, nil
}

// escapePointer makes a key a part of a JSON pointer.
func escapePointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
