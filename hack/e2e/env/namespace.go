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

// restricted are the labels of a namespace that lets in only pods of the strictest standard.
var restricted = map[string]string{
	"pod-security.kubernetes.io/enforce": "restricted",
	"pod-security.kubernetes.io/warn":    "restricted",
}

// EnsureNamespace makes the namespace if it is not there. It enforces restricted Pod Security.
func (e *Env) EnsureNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: restricted}}
	_, err := e.Kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making namespace %s: %w", name, err)
	}
	return nil
}

// NewNamespace makes a namespace of a new name. It enforces restricted Pod Security.
func (e *Env) NewNamespace(ctx context.Context, prefix string) (string, error) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix, Labels: restricted}}
	namespace, err := e.Kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("making a namespace: %w", err)
	}
	return namespace.Name, nil
}

// StartDeletingNamespace asks for the deletion of the namespace and does not wait for it.
func (e *Env) StartDeletingNamespace(ctx context.Context, name string) error {
	err := e.Kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting namespace %s: %w", name, err)
	}
	return nil
}

// DeleteNamespace deletes the namespace and waits until it has gone.
func (e *Env) DeleteNamespace(ctx context.Context, name string, timeout time.Duration) error {
	namespaces := e.Kube.CoreV1().Namespaces()
	namespace, err := namespaces.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", name, err)
	}
	if err := e.StartDeletingNamespace(ctx, name); err != nil {
		return err
	}
	return Poll(ctx, timeout, "namespace "+name+" to go", func(ctx context.Context) (string, error) {
		present, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || (err == nil && present.UID != namespace.UID) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("reading namespace %s: %w", name, err)
		}
		return remains(present), nil
	})
}

// remains says what keeps a namespace from going.
func remains(namespace *corev1.Namespace) string {
	texts := []string{string(namespace.Status.Phase)}
	for _, c := range namespace.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			texts = append(texts, c.Message)
		}
	}
	return strings.Join(texts, "; ")
}
