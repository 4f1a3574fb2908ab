package env

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Tool is a command-line client and the image that has it.
type Tool struct {
	name, image string
	// script reads the connection's address from the first line of its input, so that the password is in no argument list here.
	script string
	// refused are words that say that no connection was made.
	refused []string
}

// The clients.
var (
	// Psql reads SQL from the rest of its input.
	Psql = Tool{
		name: "psql", image: "docker.io/library/postgres:15",
		script:  `IFS= read -r uri; exec psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 --dbname "$uri" --file -`,
		refused: []string{"failed: Connection refused", "failed: Network is unreachable", "failed: No route to host"},
	}
	// RedisCLI takes one command as its arguments.
	RedisCLI = Tool{
		name: "redis-cli", image: "docker.io/library/redis:7.0",
		script:  `IFS= read -r uri; exec redis-cli -e --no-auth-warning -u "$uri" "$@"`,
		refused: []string{"Could not connect to Redis"},
	}
)

// Client is a pod with such a tool that is no part of any Database: an application.
type Client struct {
	env       *Env
	namespace string
	tool      Tool
}

// StartClient starts the pod, if it is not there, and waits until it runs.
func (e *Env) StartClient(ctx context.Context, namespace string, tool Tool) (*Client, error) {
	pods := e.Kube.CoreV1().Pods(namespace)
	if _, err := pods.Create(ctx, tool.pod(), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("starting the client: %w", err)
	}
	err := Poll(ctx, 3*time.Minute, "the client's pod", func(ctx context.Context) (string, error) {
		pod, err := pods.Get(ctx, tool.podName(), metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("reading the client's pod: %w", err)
		}
		if pod.Status.Phase == corev1.PodRunning {
			return "", nil
		}
		return fmt.Sprint("its phase is ", pod.Status.Phase), nil
	})
	return &Client{env: e, namespace: namespace, tool: tool}, err
}

func (t Tool) podName() string { return "client-" + t.name }

func (t Tool) pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: t.podName()},
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
				Name:    t.name,
				Image:   t.image,
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

// connectTimeout is how long a refused connection is tried again. A Service learns that a pod is ready, or gone, a second or two after the
// pod: every node's kube-proxy has to see it. Applications connect again, too.
const connectTimeout = 15 * time.Second

// Query runs SQL, once, with these credentials, and returns the rows, one a line, with columns separated by "|".
func (c *Client) Query(ctx context.Context, uri, sql string) (string, error) {
	return c.run(ctx, uri+"\n"+sql+"\n")
}

// Do runs one command, once, and returns what it printed.
func (c *Client) Do(ctx context.Context, uri string, command ...string) (string, error) {
	return c.run(ctx, uri+"\n", command...)
}

// run runs the tool. A connection that is refused is tried again for a while: then nothing was done.
func (c *Client) run(ctx context.Context, input string, args ...string) (string, error) {
	for start := time.Now(); ; {
		output, err := c.runOnce(ctx, input, args...)
		if err == nil || !c.tool.isRefused(err) || time.Since(start) > connectTimeout || ctx.Err() != nil {
			return output, err
		}
	}
}

// runOnce is run of a client that does not try again.
func (c *Client) runOnce(ctx context.Context, input string, args ...string) (string, error) {
	command := append([]string{"exec", "--stdin", "--namespace", c.namespace, c.tool.podName(), "--", "bash", "-c", c.tool.script, c.tool.name}, args...)
	output, err := c.env.Kubectl(ctx, input, command...)
	return strings.TrimSpace(output), err
}

func (t Tool) isRefused(err error) bool {
	return slices.ContainsFunc(t.refused, func(words string) bool { return strings.Contains(err.Error(), words) })
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
