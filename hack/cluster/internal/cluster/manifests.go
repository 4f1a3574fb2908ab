// The API objects that a bare cluster lacks: DNS, storage classes, and rights for both.

package cluster

import "strconv"

// csiDriver is the name of the CSI driver; package csi has it too, but also all of client-go, which this small program does without.
const csiDriver = "loop.csi.database-operator.local"

// csiUser is whom the CSI driver is to the API server.
const csiUser = "database-operator:loop-csi"

// dnsUser is whom CoreDNS is to the API server.
const dnsUser = "system:coredns"

// resource is an object to be applied, and where.
type resource struct {
	path   string
	object object
}

// storageClasses are the classes, the default one first. They are alike: the second is there for what names it.
var storageClasses = []string{"standard", "fast-ssd"}

// manifests are the objects that the cluster needs.
func manifests() []resource {
	resources := []resource{
		{"/api/v1/namespaces/kube-system/services/kube-dns", dnsServiceObject()},
		{"/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns", dnsEndpoints()},
		{"/apis/storage.k8s.io/v1/csidrivers/" + csiDriver, csiDriverObject()},
	}
	for i, name := range storageClasses {
		resources = append(resources, resource{"/apis/storage.k8s.io/v1/storageclasses/" + name, storageClass(name, i == 0)})
	}
	resources = append(resources, grant(csiUser, []object{
		rule("", []string{"persistentvolumes"}, "get", "list", "watch", "create", "update", "patch", "delete"),
		rule("", []string{"persistentvolumeclaims", "persistentvolumeclaims/status"}, "get", "list", "watch", "update", "patch"),
		rule("", []string{"events"}, "create", "update", "patch"),
		rule("", []string{"nodes"}, "get", "list", "watch"),
		rule("storage.k8s.io", []string{"storageclasses", "csinodes"}, "get", "list", "watch"),
	})...)
	return append(resources, grant(dnsUser, []object{
		rule("", []string{"services", "pods", "namespaces"}, "list", "watch"),
		rule("discovery.k8s.io", []string{"endpointslices"}, "list", "watch"),
	})...)
}

func metadata(name string) object {
	return object{"name": name, "labels": object{"app.kubernetes.io/managed-by": fieldManager}}
}

func dnsServiceObject() object {
	meta := metadata("kube-dns")
	meta["namespace"] = "kube-system"
	return object{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": object{
		"clusterIP": dnsService,
		"ports": []object{
			{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
			{"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
		},
	}}
}

// dnsEndpoints points the DNS Service, which selects no Pods, at the process.
func dnsEndpoints() object {
	meta := object{"name": "kube-dns", "namespace": "kube-system", "labels": object{
		"kubernetes.io/service-name":             "kube-dns",
		"endpointslice.kubernetes.io/managed-by": fieldManager,
	}}
	return object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
		"endpoints": []object{{"addresses": []string{fabricAddress}, "conditions": object{"ready": true}}},
		"ports": []object{
			{"name": "dns", "port": 53, "protocol": "UDP"},
			{"name": "dns-tcp", "port": 53, "protocol": "TCP"},
		},
	}
}

func csiDriverObject() object {
	return object{"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": metadata(csiDriver), "spec": object{
		"attachRequired": false, "podInfoOnMount": false, "fsGroupPolicy": "File", "volumeLifecycleModes": []string{"Persistent"},
	}}
}

func storageClass(name string, isDefault bool) object {
	meta := metadata(name)
	meta["annotations"] = object{"storageclass.kubernetes.io/is-default-class": strconv.FormatBool(isDefault)}
	return object{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta, "provisioner": csiDriver,
		"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true, "reclaimPolicy": "Delete",
	}
}

// grant gives a user a cluster role of the same name.
func grant(user string, rules []object) []resource {
	const group = "/apis/rbac.authorization.k8s.io/v1/"
	return []resource{
		{group + "clusterroles/" + user, object{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(user), "rules": rules,
		}},
		{group + "clusterrolebindings/" + user, object{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata(user),
			"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
			"subjects": []object{{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}},
		}},
	}
}

func rule(group string, resources []string, verbs ...string) object {
	return object{"apiGroups": []string{group}, "resources": resources, "verbs": verbs}
}
