package main

import (
	"fmt"

	"github.com/go-logr/logr"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // the format json
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// The agent's log has its own lines and those of the engine, in one format. The level is that of
// both: what is below it is left out. Errors always appear.

// logLevels are the values of --log-level.
var logLevels = map[string]agent.LogLevel{
	"debug": agent.LogDebug, "info": agent.LogInfo, "warning": agent.LogWarning, "error": agent.LogError,
}

// verbose is klog's verbosity at level debug.
const verbose = 4

// setUpLogging returns the agent's logger, and what takes the engine's messages.
func setUpLogging(format, levelName, engine string) (klog.Logger, func(agent.LogEntry), error) {
	level, ok := logLevels[levelName]
	if !ok {
		return klog.Logger{}, nil, fmt.Errorf("--log-level: %q is not one of debug, info, warning, error", levelName)
	}
	config := logsapi.NewLoggingConfiguration()
	config.Format = format
	if level == agent.LogDebug {
		config.Verbosity = verbose
	}
	if err := logsapi.ValidateAndApply(config, nil); err != nil {
		return klog.Logger{}, nil, fmt.Errorf("--log-format: %w", err)
	}
	unfiltered := klog.Background()
	logger := unfiltered
	if level > agent.LogInfo {
		logger = logr.New(errorsOnly{unfiltered.GetSink()})
		klog.SetLogger(logger)
	}
	return logger, engineLog(klog.LoggerWithName(unfiltered, engine), level), nil
}

// engineLog writes the engine's messages. They are all Info to klog: an ERROR of a client's statement
// is no error of the agent. Their own severity stands beside them.
func engineLog(logger klog.Logger, level agent.LogLevel) func(agent.LogEntry) {
	return func(e agent.LogEntry) {
		if e.Level < level {
			return
		}
		logger.Info(e.Message, append([]any{"severity", e.Severity}, e.Values...)...)
	}
}

// errorsOnly is a sink without Info.
type errorsOnly struct{ logr.LogSink }

// Enabled implements logr.LogSink.
func (errorsOnly) Enabled(int) bool { return false }

// WithName implements logr.LogSink.
func (s errorsOnly) WithName(name string) logr.LogSink {
	return errorsOnly{s.LogSink.WithName(name)}
}

// WithValues implements logr.LogSink.
func (s errorsOnly) WithValues(values ...any) logr.LogSink {
	return errorsOnly{s.LogSink.WithValues(values...)}
}
