using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Backups;

/// <summary>A backup is damaged, incomplete, or not one that another can stand on; or a manifest is not what it should be.</summary>
public sealed class BackupException : Qcow2Exception
{
    /// <summary>Says what is wrong.</summary>
    /// <param name="message">What, where, and what could be done.</param>
    /// <param name="innerException">What was found first; null when this is it.</param>
    public BackupException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    internal BackupException(PrintableMessage message, Exception? innerException = null)
        : base(message, innerException)
    {
    }
}
