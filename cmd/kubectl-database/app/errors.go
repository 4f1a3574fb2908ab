package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// explain turns what an API server says into what a person can act on. name is the Database that was
// asked for, "" for all.
func (c *clients) explain(ctx context.Context, err error, name string) error {
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err) && !c.installed():
		return fmt.Errorf("the cluster at %s has no Databases: %s is not installed there; "+
			"install the operator with `kubectl apply --server-side -f manifests/install.yaml` (or only its kinds, with `make install`), "+
			"or choose another cluster with --context", c.server, dbv1.SchemeGroupVersion)
	case apierrors.IsNotFound(err) && name != "":
		return c.missing(ctx, name)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; `kubectl auth can-i --list -n %s` lists what you may do", err, c.namespace)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster at %s does not know you: log in again, or choose another user with --user or --context", c.server)
	case utilnet.IsConnectionRefused(err), errors.As(err, &timeout):
		return fmt.Errorf("the cluster at %s cannot be reached: %w", c.server, err)
	default:
		return err
	}
}

// installed says whether the API server serves our kinds. Only a clear no is a no.
func (c *clients) installed() bool {
	_, err := c.Kube.Discovery().ServerResourcesForGroupVersion(dbv1.SchemeGroupVersion.String())
	return !apierrors.IsNotFound(err)
}

// missing says where a Database may be that is not here: misspelt, or in another namespace.
func (c *clients) missing(ctx context.Context, name string) error {
	here, elsewhere := c.candidates(ctx, name)
	what := fmt.Sprintf("there is no Database %q in namespace %q", name, c.namespace)
	switch {
	case len(elsewhere) > 0:
		return fmt.Errorf("%s, but there is one in %s: add -n %s", what, strings.Join(elsewhere, " and in "), elsewhere[0])
	case len(here) > 0:
		return fmt.Errorf("%s; did you mean %s?", what, strings.Join(here, " or "))
	default:
		return fmt.Errorf("%s; `kubectl database status -A` lists those of all namespaces", what)
	}
}

// candidates are Databases of a similar name here, and namespaces with one of this name. Who may
// not look gets none.
func (c *clients) candidates(ctx context.Context, name string) (here, elsewhere []string) {
	list, err := c.Databases.DatabaseV1().Databases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		if list, err = c.Databases.DatabaseV1().Databases(c.namespace).List(ctx, metav1.ListOptions{}); err != nil {
			return nil, nil
		}
	}
	for i := range list.Items {
		db := &list.Items[i]
		switch {
		case db.Namespace == c.namespace && similar(name, db.Name):
			here = append(here, db.Name)
		case db.Namespace != c.namespace && db.Name == name:
			elsewhere = append(elsewhere, db.Namespace)
		}
	}
	slices.SortFunc(here, func(a, b string) int { // the most similar first
		return cmp.Or(distance(name, a)-distance(name, b), strings.Compare(a, b))
	})
	slices.Sort(elsewhere)
	return here[:min(len(here), 3)], elsewhere[:min(len(elsewhere), 3)]
}

// similar names have one in the other, or few letters that differ.
func similar(a, b string) bool {
	return strings.Contains(a, b) || strings.Contains(b, a) || distance(a, b) <= max(1, len(a)/3)
}

// distance is the number of letters to insert, delete or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
