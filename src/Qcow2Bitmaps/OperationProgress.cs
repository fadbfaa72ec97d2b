namespace Qcow2Bitmaps;

/// <summary>How far a long operation is: copying, comparing, a chain operation, a backup.</summary>
/// <param name="DoneBytes">How many bytes of the disks are done, including those that need no work. Never decreases.</param>
/// <param name="TotalBytes">How many bytes of disks the operation goes through.</param>
/// <remarks>An operation reports one step after the other, but not always from the same thread.</remarks>
public readonly record struct OperationProgress(long DoneBytes, long TotalBytes);
