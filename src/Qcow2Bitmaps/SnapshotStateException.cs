using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>There is no such internal snapshot, or one is in the way. Nothing was changed.</summary>
public sealed class SnapshotStateException : Qcow2Exception
{
    internal SnapshotStateException(string snapshot, PrintableMessage message)
        : base(message) => Snapshot = snapshot;

    /// <summary>The snapshot's name or id, as it was asked for, or that of the first one in the way.</summary>
    public string Snapshot { get; }
}
