namespace Qcow2Bitmaps;

/// <summary>A storage that cannot grow has no room for what was asked. Nothing was changed.</summary>
public sealed class NoSpaceException : Qcow2Exception
{
    /// <summary>Says how much is needed and how much is there.</summary>
    /// <param name="message">What is needed, and what is there.</param>
    /// <param name="neededBytes">The bytes that are needed.</param>
    /// <param name="availableBytes">The bytes that are free; null when they are not known.</param>
    public NoSpaceException(string message, long neededBytes, long? availableBytes)
        : base(message)
    {
        NeededBytes = neededBytes;
        AvailableBytes = availableBytes;
    }

    /// <summary>The bytes that are needed, in whole clusters.</summary>
    public long NeededBytes { get; }

    /// <summary>The bytes that are free, in whole clusters, not necessarily in a row; null when they are not known.</summary>
    public long? AvailableBytes { get; }
}
