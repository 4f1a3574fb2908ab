package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPackIsDeterministic(t *testing.T) {
	spec := Spec{
		Names:  []string{"docker.io/platform-io/database-operator:dev", "docker.io/platform-io/database-operator:1"},
		Config: Config{User: "65532:65532", Entrypoint: []string{"/operator"}, Env: []string{"A=b"}},
	}
	var first []byte
	for i := range 2 {
		dir := t.TempDir()
		spec.Rootfs = filepath.Join(dir, "root")
		writeRootfs(t, spec.Rootfs, time.Unix(int64(1000*i), 0))
		out := filepath.Join(dir, "image.tar")
		if err := Pack(out, spec); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		} else if !bytes.Equal(first, data) {
			t.Error("the same files at another place and time gave other bytes")
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	checkArchive(t, first, spec)
}

func writeRootfs(t *testing.T, root string, when time.Time) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"operator": 0o755, "etc/config": 0o640} {
		file := filepath.Join(root, name)
		if err := os.WriteFile(file, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(file, mode), os.Chtimes(file, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("operator", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
}

func checkArchive(t *testing.T, archive []byte, spec Spec) {
	t.Helper()
	files := readTar(t, archive)
	var manifests []manifest
	if err := json.Unmarshal(files["manifest.json"].data, &manifests); err != nil || len(manifests) != 1 {
		t.Fatalf("manifest: %v, %v", manifests, err)
	}
	m := manifests[0]
	if !slices.Equal(m.RepoTags, spec.Names) {
		t.Errorf("names %v", m.RepoTags)
	}
	var d description
	if err := json.Unmarshal(files[m.Config].data, &d); err != nil {
		t.Fatal(err)
	}
	if d.Config.User != spec.Config.User || !slices.Equal(d.Config.Entrypoint, spec.Config.Entrypoint) {
		t.Errorf("config %+v", d.Config)
	}
	layer := files[m.Layers[0]].data
	digest := sha256.Sum256(layer)
	if want := []string{"sha256:" + hex.EncodeToString(digest[:])}; !slices.Equal(d.RootFS.DiffIDs, want) {
		t.Errorf("layers %v, want %v", d.RootFS.DiffIDs, want)
	}
	want := map[string]tar.Header{
		"etc/":       {Typeflag: tar.TypeDir, Mode: 0o755},
		"etc/config": {Typeflag: tar.TypeReg, Mode: 0o640},
		"operator":   {Typeflag: tar.TypeReg, Mode: 0o755},
		"link":       {Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "operator"},
	}
	got := readTar(t, layer)
	for name, w := range want {
		g := got[name].header
		if g == nil || g.Typeflag != w.Typeflag || g.Mode != w.Mode || g.Linkname != w.Linkname || g.Uid != 0 || !g.ModTime.Equal(epoch) {
			t.Errorf("%s: %+v", name, g)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

type tarEntry struct {
	header *tar.Header
	data   []byte
}

func readTar(t *testing.T, data []byte) map[string]tarEntry {
	t.Helper()
	entries := map[string]tarEntry{}
	for reader := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		entries[header.Name] = tarEntry{header, content}
	}
}

func TestPackRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := Pack(filepath.Join(dir, "x.tar"), Spec{Rootfs: dir}); err == nil {
		t.Error("an image without a name was packed")
	}
	if err := Pack(filepath.Join(dir, "x.tar"), Spec{Names: []string{"a:b"}, Rootfs: filepath.Join(dir, "none")}); err == nil {
		t.Error("an image of nothing was packed")
	}
}

func TestIsArchive(t *testing.T) {
	dir := t.TempDir()
	root, archive := filepath.Join(dir, "root"), filepath.Join(dir, "image.tar")
	writeRootfs(t, root, epoch)
	if err := Pack(archive, Spec{Names: []string{"a:b"}, Rootfs: root}); err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	if err := writeFolder(&layer, root); err != nil {
		t.Fatal(err)
	}
	rootTar := filepath.Join(dir, "root.tar")
	if err := os.WriteFile(rootTar, layer.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{archive: true, rootTar: false} {
		if got, err := IsArchive(file); err != nil || got != want {
			t.Errorf("%s: %v, %v", file, got, err)
		}
	}
}

func TestRecipeNames(t *testing.T) {
	got := Recipe{Repository: "docker.io/library/postgres", Tags: []string{"15", "{version}", "15-bookworm"}}.names("15.18-0+deb12u1")
	want := []string{"docker.io/library/postgres:15", "docker.io/library/postgres:15.18", "docker.io/library/postgres:15-bookworm"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	got = Recipe{Repository: "docker.io/library/redis", Tags: []string{"{version}"}}.names("5:7.0.15-1~deb12u7")
	if want := []string{"docker.io/library/redis:7.0.15"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestFileName(t *testing.T) {
	if got := FileName([]string{"docker.io/library/postgres:15", "x"}); got != "docker.io_library_postgres_15.tar" {
		t.Error(got)
	}
}
