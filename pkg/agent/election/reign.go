package election

// Reign says whether this instance holds the Lease, or may (a release of it is not known to be there), and
// whether its engine may run as primary.
func (m *Machine) Reign() (holding, live bool) {
	return m.hold != nil || m.disk.Releasing, m.hold != nil && m.hold.live
}
