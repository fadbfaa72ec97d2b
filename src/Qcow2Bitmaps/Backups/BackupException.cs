using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Backups;

/// <summary>A backup is damaged, incomplete, or not one that another can be based on; or a manifest is not what it should be.</summary>
public sealed class BackupException : Qcow2Exception
{
    internal BackupException(PrintableMessage message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    /// <summary>The name that an image of an adopted series should store for its backing file; null for any other fault.</summary>
    public BackingReference? ExpectedBacking { get; internal init; }
}
