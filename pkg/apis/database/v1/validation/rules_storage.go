package validation

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// storageRules are about volumes and resources.
var storageRules = []Rule{
	{
		ID: "storage-required", Paths: []string{"spec"},
		CEL: `has(self.storage) ? has(self.storage.size) : self.engine == 'Redis'`,
		Message: "spec.storage.size is required, because data needs a volume; " +
			`set it, as "10Gi" (only a Redis that keeps nothing on disk may leave spec.storage out)`,
		Check: func(s *subject) {
			missing := s.spec.Storage == nil && s.spec.Engine != dbv1.Redis
			s.refuse(missing || (s.spec.Storage != nil && s.spec.Storage.Size == nil), "spec.storage.size", nil)
		},
	},
	{
		ID: "storage-added", Paths: []string{"spec"},
		CEL: `has(self.storage) == has(oldSelf.storage)`,
		Message: "spec.storage cannot be added or removed, because instances cannot change where their data is; " +
			"back up, and restore into a new Database",
		Check: func(s *subject) {
			s.refuse(s.Old != nil && (s.Old.Spec.Storage == nil) != (s.spec.Storage == nil), "spec.storage", nil)
		},
	},
	{
		ID: "storage-class-immutable", Paths: []string{"spec.storage"},
		CEL: `has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)`,
		Message: "spec.storage.storageClassName cannot be changed, because a volume cannot move to another class; " +
			"back up, and restore into a new Database",
		Check: func(s *subject) {
			if s.Old == nil || s.Old.Spec.Storage == nil || s.spec.Storage == nil {
				return
			}
			before, after := s.Old.Spec.Storage.StorageClassName, s.spec.Storage.StorageClassName
			same := (before == nil) == (after == nil) && (before == nil || *before == *after)
			s.refuse(!same, "spec.storage.storageClassName", after)
		},
	},
	{
		ID: "storage-size", Paths: []string{"spec.storage"},
		CEL: `!has(self.size) || (type(self.size) == int ? self.size > 0 : self.size.matches('^[+]?[0-9.]*[1-9]'))`,
		Message: "spec.storage.size must be greater than zero, because data needs room; " +
			`set it, as "10Gi"`,
		Check: func(s *subject) {
			if s.spec.Storage != nil {
				s.positive(s.spec.Storage.Size, "spec.storage.size")
			}
		},
	},
	{
		ID: "storage-shrink",
		Message: "spec.storage.size must not be smaller than the volumes are, because volumes cannot shrink; " +
			"set it back, or back up and restore into a new Database",
		Check: func(s *subject) {
			size := dbv1.StorageSize(s.db)
			if size == nil || s.CurrentStorageSize == nil {
				return
			}
			s.refuse(size.Cmp(*s.CurrentStorageSize) < 0, "spec.storage.size", fmt.Sprintf("%s (now %s)", size, s.CurrentStorageSize))
		},
	},
	{
		ID: "auto-grow-step", Paths: []string{"spec.storage.autoGrow"},
		CEL: `!has(self.step) || (type(self.step) == int ? self.step > 0 : self.step.matches('^[+]?[0-9.]*[1-9]'))`,
		Message: "spec.storage.autoGrow.step must be greater than zero, because growing by nothing never ends; " +
			`set it, as "5Gi", or leave it out for a tenth of the size`,
		Check: func(s *subject) {
			if grow := autoGrow(s.spec); grow != nil {
				s.positive(grow.Step, "spec.storage.autoGrow.step")
			}
		},
	},
	{
		ID: "auto-grow-max-positive", Paths: []string{"spec.storage.autoGrow"},
		CEL: `!has(self.maxSize) || (type(self.maxSize) == int ? self.maxSize > 0 : self.maxSize.matches('^[+]?[0-9.]*[1-9]'))`,
		Message: "spec.storage.autoGrow.maxSize must be greater than zero; " +
			`set it, as "100Gi", or leave it out for twice the size`,
		Check: func(s *subject) {
			if grow := autoGrow(s.spec); grow != nil {
				s.positive(grow.MaxSize, "spec.storage.autoGrow.maxSize")
			}
		},
	},
	{
		ID: "auto-grow-max",
		Message: "spec.storage.autoGrow.maxSize must not be smaller than spec.storage.size, because volumes have that size from the start; " +
			"raise it, or leave it out for twice the size",
		Check: func(s *subject) {
			grow, size := autoGrow(s.spec), dbv1.StorageSize(s.db)
			if grow == nil || grow.MaxSize == nil || size == nil || grow.MaxSize.Sign() <= 0 {
				return
			}
			s.refuse(grow.MaxSize.Cmp(*size) < 0, "spec.storage.autoGrow.maxSize", grow.MaxSize.String())
		},
	},
	{
		ID: "resources",
		Message: "spec.resources must not request more than its limit, because no node could keep both; " +
			"lower the request or raise the limit",
		Check: func(s *subject) {
			r := dbv1.Resources(s.db)
			for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
				request, limit := r.Requests[name], r.Limits[name]
				_, limited := r.Limits[name]
				s.refuse(limited && request.Cmp(limit) > 0, key("spec.resources.requests", string(name)), request.String())
			}
			for _, list := range []struct {
				path string
				list corev1.ResourceList
			}{{"spec.resources.requests", r.Requests}, {"spec.resources.limits", r.Limits}} {
				for _, name := range slices.Sorted(maps.Keys(list.list)) {
					if q := list.list[name]; q.Sign() < 0 {
						s.refuseWith(key(list.path, string(name)), q.String(), "must not be negative; remove it for the profile's default")
					}
				}
			}
		},
	},
	{
		ID: "resource-claims-added", Paths: []string{"spec"},
		CEL:     `!has(self.resources) || !has(self.resources.claims) || size(self.resources.claims) <= (has(oldSelf.resources) && has(oldSelf.resources.claims) ? size(oldSelf.resources.claims) : 0)`,
		Message: claimsMessage,
		Check: func(s *subject) {
			if s.Old != nil {
				s.refuse(len(claims(s.spec)) > len(claims(&s.Old.Spec)), "spec.resources.claims", claims(s.spec))
			}
		},
	},
	{
		// Without the Database before, CEL cannot tell a creation from a write to one that was stored while claims were
		// ignored, which must stay writable. What runs with such claims goes on to be maintained.
		ID:      "resource-claims",
		Message: claimsMessage,
		Check: func(s *subject) {
			s.refuse(len(claims(s.spec)) > 0 && s.CurrentVersion == "", "spec.resources.claims", claims(s.spec))
		},
	},
	{
		ID: "resources-memory",
		Message: "spec.resources must leave the database container at least 64Mi of memory, because no engine runs in less; " +
			`check the unit: "1Gi" is a gibibyte, "1" is a byte`,
		Check: func(s *subject) {
			limit := dbv1.Resources(s.db).Limits[corev1.ResourceMemory]
			s.refuse(limit.Sign() >= 0 && limit.CmpInt64(64<<20) < 0, "spec.resources.limits[memory]", limit.String())
		},
	},
}

const claimsMessage = "spec.resources.claims must be left out, because the operator makes no claims of devices for its pods; " +
	"ask for extended resources in spec.resources.limits, or choose nodes with spec.scheduling.nodeSelector"

// claims are the names of the claims of devices in a spec.
func claims(spec *dbv1.DatabaseSpec) []string {
	var names []string
	if spec.Resources != nil {
		for _, claim := range spec.Resources.Claims {
			names = append(names, claim.Name)
		}
	}
	return names
}

func autoGrow(spec *dbv1.DatabaseSpec) *dbv1.AutoGrowSpec {
	if spec.Storage == nil {
		return nil
	}
	return spec.Storage.AutoGrow
}

// positive refuses a quantity that is there and not above zero.
func (s *subject) positive(q *resource.Quantity, path string) {
	if q != nil {
		s.refuse(q.Sign() <= 0, path, q.String())
	}
}
