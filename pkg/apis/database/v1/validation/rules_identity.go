package validation

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

var (
	versionForm = regexp.MustCompile(`^[0-9]{1,5}([.][0-9]{1,5}){0,2}$`)
	fullVersion = regexp.MustCompile(`^[0-9]+[.][0-9]+[.][0-9]+$`)
	imageForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)
)

// identityRules are about what the database is: name, engine, version and image.
var identityRules = []Rule{
	{
		ID: "name", Paths: []string{""},
		CEL: `size(self.metadata.name) <= 40 && self.metadata.name >= 'a' && !self.metadata.name.contains('.')`,
		Message: "metadata.name must be a DNS-1035 label of at most 40 characters (a-z, 0-9 and -, a letter first), " +
			"because Services, pods and CronJobs are named after it; choose a shorter or plainer name",
		Check: func(s *subject) {
			s.refuse(len(s.db.Name) > 40 || len(validation.IsDNS1035Label(s.db.Name)) > 0, "metadata.name", s.db.Name)
		},
	},
	{
		ID: "engine-immutable", Paths: []string{"spec.engine"},
		CEL: `self == oldSelf`,
		Message: "spec.engine cannot be changed, because no engine can read another's data; " +
			"dump the data, and load it into a new Database of the other engine",
		Check: func(s *subject) {
			s.refuse(s.Old != nil && s.Old.Spec.Engine != s.spec.Engine, "spec.engine", s.spec.Engine)
		},
	},
	{
		ID: "version-form", Paths: []string{"spec.version"},
		CEL: `self.matches('^[0-9]{1,5}([.][0-9]{1,5}){0,2}$')`,
		Message: "spec.version must be one to three numbers with dots between them, because it picks the image tag; " +
			`write it as "15", "15.4" or "7.0.14", and name any other image in spec.image`,
		Check: func(s *subject) {
			s.refuse(!versionForm.MatchString(s.spec.Version), "spec.version", s.spec.Version)
		},
	},
	{
		ID: "version-elasticsearch", Paths: []string{"spec"},
		CEL: `self.engine != 'Elasticsearch' || has(self.image) || self.version.matches('^[0-9]+[.][0-9]+[.][0-9]+$')`,
		Message: "spec.version must have three numbers for Elasticsearch, because its images have no shorter tags; " +
			`write the whole version, as "8.15.3", or name an image in spec.image`,
		Check: func(s *subject) {
			s.refuse(s.spec.Engine == dbv1.Elasticsearch && s.spec.Image == "" && !fullVersion.MatchString(s.spec.Version),
				"spec.version", s.spec.Version)
		},
	},
	{
		ID: "version-downgrade",
		Message: "spec.version must not be lower than status.currentVersion, because no engine can read the files of a newer version; " +
			"set it back, or restore a backup of the older version into a new Database",
		Check: func(s *subject) {
			s.refuse(lower(s.spec.Version, s.CurrentVersion), "spec.version",
				fmt.Sprintf("%s (now %s)", s.spec.Version, s.CurrentVersion))
		},
	},
	{
		ID: "image-form", Paths: []string{"spec.image"},
		CEL: `self.matches('^[A-Za-z0-9][A-Za-z0-9._:/@-]*$')`,
		Message: "spec.image must be the reference of an image, without spaces; " +
			`write it as "registry.example.com/postgres:15.4", or leave it out for the stock image`,
		Check: func(s *subject) {
			s.refuse(s.spec.Image != "" && !imageForm.MatchString(s.spec.Image), "spec.image", s.spec.Image)
		},
	},
}

// lower says whether a version is below another in the parts that both have. What is not a version is not lower.
func lower(version, than string) bool {
	if !versionForm.MatchString(version) || !versionForm.MatchString(than) {
		return false
	}
	a, b := strings.Split(version, "."), strings.Split(than, ".")
	for i := range min(len(a), len(b)) {
		x, _ := strconv.Atoi(a[i]) // at most five digits
		y, _ := strconv.Atoi(b[i])
		if x != y {
			return x < y
		}
	}
	return false
}
