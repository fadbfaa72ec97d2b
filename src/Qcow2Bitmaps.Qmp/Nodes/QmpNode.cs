using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Qmp.Nodes;

/// <summary>An image that is open, under its name.</summary>
internal sealed record QmpNode(string Name, string Path, RecordingSession Session);
