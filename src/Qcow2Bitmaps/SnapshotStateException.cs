using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>There is no such internal snapshot, or an existing one prevents the operation. Nothing was changed.</summary>
public sealed class SnapshotStateException : Qcow2Exception
{
    internal SnapshotStateException(string snapshot, PrintableMessage message)
        : base(message) => Snapshot = snapshot;

    /// <summary>The snapshot's name or id as requested, or that of the first snapshot that prevents the operation.</summary>
    public string Snapshot { get; }
}
