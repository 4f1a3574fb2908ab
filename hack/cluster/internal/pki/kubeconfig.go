// Kubeconfigs, complete in one file each.

package pki

import (
	"encoding/json"
	"fmt"
	"os"
)

// Admin is the cluster's administrator.
var Admin = Identity{Name: "admin", User: "admin", Groups: []string{"system:masters"}}

// The parts of a kubeconfig that are used here. JSON is YAML, and every client reads it.
type (
	kubeconfig struct {
		APIVersion     string         `json:"apiVersion"`
		Kind           string         `json:"kind"`
		Clusters       []namedCluster `json:"clusters"`
		Users          []namedUser    `json:"users"`
		Contexts       []namedContext `json:"contexts"`
		CurrentContext string         `json:"current-context"`
	}
	namedCluster struct {
		Name    string  `json:"name"`
		Cluster cluster `json:"cluster"`
	}
	cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data"`
	}
	namedUser struct {
		Name string `json:"name"`
		User user   `json:"user"`
	}
	user struct {
		Cert []byte `json:"client-certificate-data"`
		Key  []byte `json:"client-key-data"`
	}
	namedContext struct {
		Name    string     `json:"name"`
		Context contextRef `json:"context"`
	}
	contextRef struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	}
)

// contextName is the name of the cluster and of the context in every kubeconfig.
const contextName = "database-operator-local"

// WriteKubeconfig writes a kubeconfig, complete in one file, for the identity, whose certificate is issued if it is missing.
func (d Dir) WriteKubeconfig(file, server string, id Identity) error {
	if err := d.Issue(id); err != nil {
		return err
	}
	var parts [3][]byte
	for i, part := range []string{d.CA(), d.Cert(id.Name), d.Key(id.Name)} {
		data, err := os.ReadFile(part)
		if err != nil {
			return fmt.Errorf("reading for the kubeconfig of %s: %w", id.Name, err)
		}
		parts[i] = data
	}
	data, err := json.MarshalIndent(kubeconfig{
		APIVersion:     "v1",
		Kind:           "Config",
		Clusters:       []namedCluster{{Name: contextName, Cluster: cluster{Server: server, CA: parts[0]}}},
		Users:          []namedUser{{Name: id.Name, User: user{Cert: parts[1], Key: parts[2]}}},
		Contexts:       []namedContext{{Name: contextName, Context: contextRef{Cluster: contextName, User: id.Name}}},
		CurrentContext: contextName,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the kubeconfig of %s: %w", id.Name, err)
	}
	return writeFile(file, append(data, '\n'))
}
