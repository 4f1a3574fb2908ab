// Package csi is a small CSI driver for the local cluster. A volume is a sparse file with a file system in it, mounted through
// a loop device: it has a real size, so that a database can really run out of space, and it costs only what is written.
//
// One driver runs per node, as a process on the host beside the kubelet. It is all of CSI in one: the identity, node and controller
// services on a unix socket, the registration with the kubelet, the provisioner that answers claims, and the
// resizer that grows them. A volume lives on the node
// that the scheduler chose for its first Pod, and stays there: the node affinity of the PersistentVolume says so.
//
// There is no record beside the file. Its existence is the volume's, its length is the capacity, the kernel knows whether it is
// attached; so nothing can get out of step when the driver is killed.
package csi

// DriverName is the name of the driver and of the provisioner of its storage classes.
const DriverName = "loop.csi.database-operator.local"

// TopologyKey is the node label by which a volume is bound to its node.
const TopologyKey = "topology." + DriverName + "/node"
