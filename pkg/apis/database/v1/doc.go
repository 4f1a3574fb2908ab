// Package v1 is the API of the operator: the kinds Database, DatabaseBackup and
// DatabaseInstance of the group db.platform.io. It is the only package that
// other programs must know; it imports nothing else of this project.
//
// +k8s:deepcopy-gen=package
// +k8s:openapi-gen=true
// +kubebuilder:object:generate=false
// +groupName=db.platform.io
// +groupGoName=Database
package v1
