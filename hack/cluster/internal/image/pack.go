// Package image makes container images without a container engine or a registry: an archive is nothing but a tar file with a
// layer, which is a tar file of the root file system, and two small JSON files. The same input gives the same bytes.
package image

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Config is what an image says about its containers.
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// Spec describes an image to be packed.
type Spec struct {
	// Names are full references, such as docker.io/library/postgres:15.
	Names  []string
	Config Config
	// Rootfs is a folder, or a tar file that is taken as it is, with the owners in it.
	Rootfs string
}

// The files of an image archive, as `docker save` writes it and every runtime reads it.
type (
	manifest struct {
		Config   string   `json:"Config"`
		RepoTags []string `json:"RepoTags"`
		Layers   []string `json:"Layers"`
	}
	description struct {
		Architecture string  `json:"architecture"`
		OS           string  `json:"os"`
		Created      string  `json:"created"`
		Config       Config  `json:"config"`
		RootFS       rootFS  `json:"rootfs"`
		History      []event `json:"history"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	event struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}
)

// epoch is the time of all files and images: nothing may depend on when it was made.
var epoch = time.Unix(0, 0).UTC()

// Pack writes an image archive, in one step.
func Pack(out string, spec Spec) error {
	if len(spec.Names) == 0 {
		return errors.New("an image needs a name")
	}
	layer, err := openLayer(spec.Rootfs, filepath.Dir(out))
	if err != nil {
		return err
	}
	defer layer.close()
	file, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".*.new")
	if err != nil {
		return fmt.Errorf("making the image archive: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	buffer := bufio.NewWriterSize(file, 1<<20)
	if err := errors.Join(writeArchive(buffer, spec, layer), buffer.Flush(), file.Chmod(0o644), file.Close()); err != nil {
		return fmt.Errorf("writing the image archive %s: %w", out, err)
	}
	if err := os.Rename(file.Name(), out); err != nil {
		return fmt.Errorf("keeping the image archive: %w", err)
	}
	return nil
}

func writeArchive(out io.Writer, spec Spec, layer *layer) error {
	created := epoch.Format(time.RFC3339)
	config, err := json.Marshal(description{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      created,
		Config:       spec.Config,
		RootFS:       rootFS{Type: "layers", DiffIDs: []string{"sha256:" + layer.digest}},
		History:      []event{{Created: created, CreatedBy: "hack/cluster of database-operator"}},
	})
	if err != nil {
		return fmt.Errorf("encoding the image's description: %w", err)
	}
	digest := sha256.Sum256(config)
	configName := hex.EncodeToString(digest[:]) + ".json"
	layerName := layer.digest + ".tar"
	index, err := json.Marshal([]manifest{{Config: configName, RepoTags: spec.Names, Layers: []string{layerName}}})
	if err != nil {
		return fmt.Errorf("encoding the manifest: %w", err)
	}
	archive := tar.NewWriter(out)
	if err := writeEntry(archive, layerName, layer.size, layer.file); err != nil {
		return err
	}
	if err := writeBytes(archive, configName, config); err != nil {
		return err
	}
	if err := writeBytes(archive, "manifest.json", index); err != nil {
		return err
	}
	return archive.Close()
}

// layer is the tar file of the root file system, hashed.
type layer struct {
	file      *os.File
	size      int64
	digest    string
	temporary bool
}

// openLayer opens the tar file, or makes one of the folder, beside the archive that is to be written.
func openLayer(rootfs, temp string) (*layer, error) {
	info, err := os.Stat(rootfs)
	if err != nil {
		return nil, fmt.Errorf("opening the root file system: %w", err)
	}
	l := &layer{temporary: info.IsDir()}
	if l.temporary {
		l.file, err = layerOf(rootfs, temp)
	} else {
		l.file, err = os.Open(rootfs)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the layer: %w", err)
	}
	hash := sha256.New()
	if l.size, err = io.Copy(hash, l.file); err == nil {
		_, err = l.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("hashing the layer: %w", err)
	}
	l.digest = hex.EncodeToString(hash.Sum(nil))
	return l, nil
}

func (l *layer) close() {
	_ = l.file.Close()
	if l.temporary {
		_ = os.Remove(l.file.Name())
	}
}

// layerOf writes a folder into a temporary tar file and returns that, to be read from its start.
func layerOf(rootfs, temp string) (*os.File, error) {
	file, err := os.CreateTemp(temp, "layer.*.new")
	if err != nil {
		return nil, fmt.Errorf("making the layer: %w", err)
	}
	buffer := bufio.NewWriterSize(file, 1<<20)
	err = errors.Join(writeFolder(buffer, rootfs), buffer.Flush())
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		_ = os.Remove(file.Name())
		return nil, err
	}
	return file, nil
}

// FileName is a file name for the archive of an image of these names.
func FileName(names []string) string {
	if len(names) == 0 {
		return "image.tar"
	}
	return strings.NewReplacer("/", "_", ":", "_", "@", "_").Replace(names[0]) + ".tar"
}
