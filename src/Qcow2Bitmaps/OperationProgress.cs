namespace Qcow2Bitmaps;

/// <summary>The progress of a long operation: copying, comparing, a chain operation, a backup.</summary>
/// <param name="DoneBytes">How many bytes of the disks are done, including those that need no work. Never decreases.</param>
/// <param name="TotalBytes">How many bytes of the disks the operation processes in all.</param>
/// <remarks>
/// Reports of one operation never overlap, but may come from different threads. Those of a backup job of a recording session may overlap,
/// and its total may be 0: take the largest number.
/// </remarks>
public readonly record struct OperationProgress(long DoneBytes, long TotalBytes);
