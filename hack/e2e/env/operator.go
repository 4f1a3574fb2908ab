package env

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The operator's names in the manifests.
const (
	OperatorNamespace = "database-system"
	OperatorName      = "database-operator"
	operatorSelector  = "app.kubernetes.io/name=" + OperatorName
)

// annotationContent on the operator's pods tells one build of an image from another with the same name.
const annotationContent = "db.platform.io/image-content"

const rolloutTimeout = 3 * time.Minute

// InstallOperator puts the operator of the working tree into the cluster and waits until all its replicas are ready.
func (e *Env) InstallOperator(ctx context.Context) error {
	image := os.Getenv("IMAGE")
	if image == "" {
		image = DefaultImage
	}
	content := ""
	if e.Local {
		var err error
		if content, err = e.loadImage(ctx, image); err != nil {
			return err
		}
	}
	manifests, err := e.manifests(image, content)
	if err != nil {
		return err
	}
	output, err := e.Kubectl(ctx, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
	if err != nil {
		return fmt.Errorf("installing the operator: %w\n%s", err, output)
	}
	return e.WaitForOperator(ctx)
}

// loadImage builds the image, loads it into the local cluster's nodes, and returns a hash of it.
func (e *Env) loadImage(ctx context.Context, image string) (string, error) {
	if err := e.run(ctx, ".", nil, "make", "image", "IMAGE="+image); err != nil {
		return "", err
	}
	archive := filepath.Join(e.Root, "out", "operator.tar")
	file, err := os.Open(archive)
	if err != nil {
		return "", fmt.Errorf("reading the image: %w", err)
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("reading the image: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], e.run(ctx, ".", nil, e.clusterTool(), "load-image", "--tar", archive)
}

// manifests returns install.yaml with this image in the operator's Deployment.
func (e *Env) manifests(image, content string) (string, error) {
	data, err := os.ReadFile(filepath.Join(e.Root, "manifests", "install.yaml"))
	if err != nil {
		return "", fmt.Errorf("reading the manifests: %w", err)
	}
	documents := strings.Split(string(data), "\n---\n")
	i := slices.IndexFunc(documents, func(d string) bool { return strings.Contains(d, "\nkind: Deployment\n") })
	if i < 0 {
		return "", errors.New("install.yaml has no Deployment")
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(documents[i]), &deployment); err != nil {
		return "", fmt.Errorf("reading the operator's Deployment: %w", err)
	}
	container := &deployment.Spec.Template.Spec.Containers[0]
	container.Image = image
	for i := range container.Env {
		if container.Env[i].Name == "AGENT_IMAGE" {
			container.Env[i].Value = image
		}
	}
	if content != "" {
		deployment.Spec.Template.Annotations = map[string]string{annotationContent: content}
	}
	changed, err := yaml.Marshal(deployment)
	if err != nil {
		return "", fmt.Errorf("writing the operator's Deployment: %w", err)
	}
	documents[i] = string(changed)
	return strings.Join(documents, "\n---\n"), nil
}

// WaitForOperator waits until every replica of the newest template is ready, and no older one is left.
func (e *Env) WaitForOperator(ctx context.Context) error {
	return Poll(ctx, rolloutTimeout, "the operator to be ready", func(ctx context.Context) (string, error) {
		deployment, err := e.Kube.AppsV1().Deployments(OperatorNamespace).Get(ctx, OperatorName, metav1.GetOptions{})
		if err != nil {
			return "", err //nolint:wrapcheck // shown as the last state
		}
		want, status := *deployment.Spec.Replicas, deployment.Status
		if status.ObservedGeneration == deployment.Generation && status.UpdatedReplicas == want && status.AvailableReplicas == want && status.Replicas == want {
			return "", nil
		}
		return fmt.Sprintf("%d of %d replicas are ready, %d of the newest template", status.AvailableReplicas, want, status.UpdatedReplicas), nil
	})
}

// ScaleOperator sets the number of operators.
func (e *Env) ScaleOperator(ctx context.Context, replicas int32) error {
	deployments := e.Kube.AppsV1().Deployments(OperatorNamespace)
	scale, err := deployments.GetScale(ctx, OperatorName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the scale of the operator: %w", err)
	}
	scale.Spec.Replicas = replicas
	if _, err := deployments.UpdateScale(ctx, OperatorName, scale, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("scaling the operator: %w", err)
	}
	return nil
}

// OperatorPods returns the operator's pods that are not being deleted.
func (e *Env) OperatorPods(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := e.Kube.CoreV1().Pods(OperatorNamespace).List(ctx, metav1.ListOptions{LabelSelector: operatorSelector})
	if err != nil {
		return nil, fmt.Errorf("listing the operator's pods: %w", err)
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// UninstallOperator removes what InstallOperator installed, unless there are Databases left: their data must not be lost with the CRDs.
func (e *Env) UninstallOperator(ctx context.Context) error {
	databases, err := e.DB.DatabaseV1().Databases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("listing Databases: %w", err)
	}
	if err == nil && len(databases.Items) > 0 {
		e.Logf("the operator stays: there are %d Databases of others", len(databases.Items))
		return nil
	}
	manifests, err := os.ReadFile(filepath.Join(e.Root, "manifests", "install.yaml"))
	if err != nil {
		return fmt.Errorf("reading the manifests: %w", err)
	}
	_, err = e.Kubectl(ctx, string(manifests), "delete", "--ignore-not-found", "--timeout=3m", "-f", "-")
	return err
}
