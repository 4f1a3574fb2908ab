package agent

// Reasons of the condition Ready of a DatabaseInstance, beside those of the API package.
const (
	// ReasonWaiting: something that others provide is not there yet; the message names it.
	ReasonWaiting = "Waiting"
	// ReasonStarting: the engine is being started, or recovers.
	ReasonStarting = "Starting"
	// ReasonInitializing: a new database is being made.
	ReasonInitializing = "Initializing"
	// ReasonInitializationFailed: a new database could not be made.
	ReasonInitializationFailed = "InitializationFailed"
	// ReasonRestarting: the engine is restarted in place, as asked.
	ReasonRestarting = "Restarting"
	// ReasonElecting: the election decides what the instance is.
	ReasonElecting = "Electing"
	// ReasonRebuilding: the data is being made fit to follow the primary.
	ReasonRebuilding = "Rebuilding"
	// ReasonStopping: the pod is being stopped.
	ReasonStopping = "Stopping"
	// ReasonFenced: a person stopped the engine on purpose.
	ReasonFenced = "Fenced"
	// ReasonEngineFailed: the engine ended, or does not answer.
	ReasonEngineFailed = "EngineFailed"
	// ReasonWrongEngine: the DatabaseInstance is for another engine.
	ReasonWrongEngine = "WrongEngine"
	// ReasonVolumeEmpty: there is no data where data must be.
	ReasonVolumeEmpty = "VolumeEmpty"
	// ReasonVolumeUnreadable: the volume could not be looked at.
	ReasonVolumeUnreadable = "VolumeUnreadable"
	// ReasonDataDamaged: there is data without what makes it a database.
	ReasonDataDamaged = "DataDamaged"
	// ReasonForeignData: the data is that of another database.
	ReasonForeignData = "ForeignData"
	// ReasonVersionMismatch: the data was made by a version whose files the engine cannot read.
	ReasonVersionMismatch = "VersionMismatch"
)
