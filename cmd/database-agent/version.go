package main

import "runtime/debug"

// buildVersion is set by the linker in releases.
var buildVersion string

// version is the release, or the commit that the binary was built from.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return "commit-" + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return "development"
}
