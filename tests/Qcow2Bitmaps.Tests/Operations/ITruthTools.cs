namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// Who plays the guest and its administrator in a <see cref="TruthWorld"/>: all that changes images and is not an operation on a chain.
/// </summary>
internal interface ITruthTools
{
    /// <summary>Whether a resize calls dirty what a longer image below would show.</summary>
    bool RecordsResizes { get; }

    /// <summary>Whether disks with bitmaps can become smaller.</summary>
    bool CanShrink { get; }

    Task CreateAsync(string path, Qcow2CreateOptions options);

    Task WriteAsync(string path, IReadOnlyList<TruthWrite> writes);

    /// <summary>Writes and dies: recording bitmaps are inconsistent afterwards.</summary>
    Task CrashAsync(string path, IReadOnlyList<TruthWrite> writes);

    /// <summary>Gives the disk another size.</summary>
    /// <returns>Why not; null when it is done.</returns>
    Task<string?> ResizeAsync(string path, long sizeBytes);

    /// <summary>Changes a bitmap.</summary>
    /// <param name="path">The image.</param>
    /// <param name="action">add, remove, clear, enable or disable.</param>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="granularityBytes">Of a bitmap that is added.</param>
    /// <returns>Why not; null when it is done.</returns>
    Task<string?> BitmapAsync(string path, string action, string name, long granularityBytes);

    /// <summary>Asserts that a check of an image finds nothing.</summary>
    Task CheckAsync(string path);

    /// <summary>What the guest sees.</summary>
    Task<byte[]> ReadAsync(string path);
}
