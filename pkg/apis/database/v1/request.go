package v1

import (
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OperationRequest is what a person asks for by the annotation db.platform.io/request on a Database. It
// is taken up once for each id; a later request replaces one that was not taken up yet. How it goes is
// in status.operation.
//
// +k8s:deepcopy-gen=false
type OperationRequest struct {
	// ID identifies the request: 1 to 64 characters.
	ID string `json:"id"`
	// Kind is OperationSwitchover or OperationFailover.
	Kind string `json:"kind"`
	// To is the instance that is to be the primary. A switchover without one is to the best replica.
	To string `json:"to,omitempty"`
	// AcceptDataLoss must be true for a failover: what only the missing instances have is lost.
	AcceptDataLoss bool `json:"acceptDataLoss,omitempty"`
	// NotAfter is until when it may be taken up; without it, at any time. What was right for a person then may be
	// wrong when an operator that was away is back.
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}

// ParseRequest reads the annotation. A request without a sensible id is an error that says so.
func ParseRequest(text string) (*OperationRequest, error) {
	r := &OperationRequest{}
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("it is not JSON as {\"id\": \"1\", \"kind\": \"Switchover\", \"to\": \"db-1\"}: %w", err)
	}
	switch {
	case r.ID == "" || len(r.ID) > 64:
		return nil, errors.New("its id must have 1 to 64 characters")
	case r.Kind != OperationSwitchover && r.Kind != OperationFailover:
		return nil, fmt.Errorf("its kind must be %s or %s, not %.64q", OperationSwitchover, OperationFailover, r.Kind)
	case len(r.To) > 63:
		return nil, errors.New("to must be the name of an instance")
	case r.Kind == OperationFailover && r.To == "":
		return nil, errors.New("a failover needs an instance in to")
	case r.Kind == OperationFailover && !r.AcceptDataLoss:
		return nil, errors.New("a failover needs acceptDataLoss: true, because what only the missing instances have is lost")
	}
	return r, nil
}

// Render writes the annotation.
func (r *OperationRequest) Render() (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("write the request: %w", err)
	}
	return string(data), nil
}
