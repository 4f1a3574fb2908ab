package env

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clientImage has psql.
const clientImage = "docker.io/library/postgres:15"

const clientName = "client"

// Client is a pod with psql that is no part of any Database: an application.
type Client struct {
	env       *Env
	namespace string
}

// StartClient starts the pod, if it is not there, and waits until it runs.
func (e *Env) StartClient(ctx context.Context, namespace string) (*Client, error) {
	pods := e.Kube.CoreV1().Pods(namespace)
	if _, err := pods.Create(ctx, clientPod(), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("starting the client: %w", err)
	}
	err := Poll(ctx, 3*time.Minute, "the client's pod", func(ctx context.Context) (string, error) {
		pod, err := pods.Get(ctx, clientName, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("reading the client's pod: %w", err)
		}
		if pod.Status.Phase == corev1.PodRunning {
			return "", nil
		}
		return fmt.Sprint("its phase is ", pod.Status.Phase), nil
	})
	return &Client{env: e, namespace: namespace}, err
}

func clientPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: clientName},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  new(false),
			TerminationGracePeriodSeconds: new(int64(0)),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   new(true),
				RunAsUser:      new(int64(10001)),
				RunAsGroup:     new(int64(10001)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:    "psql",
				Image:   clientImage,
				Command: []string{"sleep", "infinity"},
				Env:     []corev1.EnvVar{{Name: "PGCONNECT_TIMEOUT", Value: "5"}, {Name: "HOME", Value: "/tmp"}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false),
					ReadOnlyRootFilesystem:   new(true),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// psql reads the connection's address from the first line of its input, so that the password is in no argument list, and SQL from the rest.
const psql = `IFS= read -r uri; exec psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 --dbname "$uri" --file -`

// connectTimeout is how long a refused connection is tried again. A Service learns that a pod is ready, or gone, a second or two after the
// pod: every node's kube-proxy has to see it. Applications connect again, too.
const connectTimeout = 15 * time.Second

// Query runs SQL, once, with these credentials, and returns the rows, one a line, with columns separated by "|". A connection that is
// refused is tried again for a while: then no SQL was run.
func (c *Client) Query(ctx context.Context, uri, sql string) (string, error) {
	for start := time.Now(); ; {
		rows, err := c.queryOnce(ctx, uri, sql)
		if err == nil || !refused(err) || time.Since(start) > connectTimeout || ctx.Err() != nil {
			return rows, err
		}
	}
}

// queryOnce is Query of a client that does not try again.
func (c *Client) queryOnce(ctx context.Context, uri, sql string) (string, error) {
	output, err := c.env.Kubectl(ctx, uri+"\n"+sql+"\n", "exec", "--stdin", "--namespace", c.namespace, clientName, "--", "bash", "-c", psql)
	return strings.TrimSpace(output), err
}

// refused says that no connection was made.
func refused(err error) bool {
	text := err.Error()
	return strings.Contains(text, "psql: error: connection to server") && (strings.Contains(text, "failed: Connection refused") ||
		strings.Contains(text, "failed: Network is unreachable") || strings.Contains(text, "failed: No route to host"))
}

// URI is where the Database's Secret says that it can be reached, and how.
func (e *Env) URI(ctx context.Context, namespace, database string) (string, error) {
	return e.credential(ctx, namespace, database, "uri")
}

// ReadOnlyURI is where its replicas can be reached.
func (e *Env) ReadOnlyURI(ctx context.Context, namespace, database string) (string, error) {
	return e.credential(ctx, namespace, database, "readonly-uri")
}

func (e *Env) credential(ctx context.Context, namespace, database, key string) (string, error) {
	secret, err := e.Kube.CoreV1().Secrets(namespace).Get(ctx, database+"-credentials", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading the credentials: %w", err)
	}
	value := string(secret.Data[key])
	if value == "" {
		return "", fmt.Errorf("the Secret with the credentials has no %s", key)
	}
	return value, nil
}
