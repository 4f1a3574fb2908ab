package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Nodes are watched for one thing: whether they take new pods. Of each node only its name and that are
// kept, and only a change of that wakes anyone: the Databases with a pod on it.
//
// It is a help, and no need: an operator that may not see nodes works without, and a node that is not
// known is taken for one that takes pods. So nothing waits for this cache.

// byNode is the index of pods by their node.
const byNode = "node"

func podsByNode(item any) ([]string, error) {
	if pod, ok := item.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
		return []string{pod.Spec.NodeName}, nil
	}
	return nil, nil
}

// newNodes makes the informer of nodes.
func (c *Controller) newNodes() error {
	c.factories.nodes = informers.NewSharedInformerFactoryWithOptions(c.clients.Kube, 0, informers.WithTransform(trimNode))
	c.nodes = c.factories.nodes.Core().V1().Nodes().Informer()
	if err := c.kinds["Pod"].informer.AddIndexers(cache.Indexers{byNode: podsByNode}); err != nil {
		return fmt.Errorf("index of pods by node: %w", err)
	}
	quiet := func(ctx context.Context, _ *cache.Reflector, err error) {
		klog.FromContext(ctx).V(2).Info("Nodes cannot be watched; a primary is not moved away before its node is drained", "err", err)
	}
	if err := c.nodes.SetWatchErrorHandlerWithContext(quiet); err != nil {
		return fmt.Errorf("watch of nodes: %w", err)
	}
	_, err := c.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(item any) {
			if node, ok := item.(*corev1.Node); ok && node.Spec.Unschedulable {
				c.enqueueNode(node)
			}
		},
		UpdateFunc: func(old, cur any) {
			before, wasNode := old.(*corev1.Node)
			now, isNode := cur.(*corev1.Node)
			if wasNode && isNode && before.Spec.Unschedulable != now.Spec.Unschedulable {
				c.enqueueNode(now)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("handler of nodes: %w", err)
	}
	return nil
}

// trimNode keeps the name, and whether the node takes new pods.
func trimNode(item any) (any, error) {
	node, ok := item.(*corev1.Node)
	if !ok {
		return item, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
		Spec:       corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable},
	}, nil
}

func (c *Controller) enqueueNode(node *corev1.Node) {
	pods, err := c.kinds["Pod"].informer.GetIndexer().ByIndex(byNode, node.Name)
	if err != nil {
		return
	}
	for _, pod := range pods {
		c.enqueue(pod)
	}
}

// cordoned are the nodes of these pods that take no new ones.
func (c *Controller) cordoned(pods map[string]*corev1.Pod) map[string]bool {
	var out map[string]bool
	for _, pod := range pods {
		item, exists, err := c.nodes.GetStore().GetByKey(pod.Spec.NodeName)
		if node, ok := item.(*corev1.Node); err == nil && exists && ok && node.Spec.Unschedulable {
			if out == nil {
				out = map[string]bool{}
			}
			out[node.Name] = true
		}
	}
	return out
}
