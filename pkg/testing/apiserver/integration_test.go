//go:build integration

package apiserver_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
)

func TestTheAPIServerServesTheKindsOfThisRepository(t *testing.T) {
	config := apiserver.Start(t)
	if again := apiserver.Start(t); again.Host != config.Host {
		t.Errorf("a second server was started: %s and %s", config.Host, again.Host)
	}
	namespace := apiserver.Namespace(t, config)
	list, err := versioned.NewForConfigOrDie(config).DatabaseV1().Databases(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("got %d Databases, %v", len(list.Items), err)
	}
}
