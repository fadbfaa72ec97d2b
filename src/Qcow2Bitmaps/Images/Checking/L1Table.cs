namespace Qcow2Bitmaps.Images.Checking;

/// <summary>An L1 table, and what was found in its entries.</summary>
internal sealed record L1Table(ulong Offset, uint Entries)
{
    /// <summary>How many snapshots have it; 1 for the active one.</summary>
    public long Times { get; set; }

    public bool IsActive { get; init; }

    /// <summary>By the entries' indices, ascending.</summary>
    public List<(int Index, List<CheckFinding> Held)> Findings { get; } = [];

    /// <summary>All that was found in the table and in the L2 tables that it names, in order; null until that is asked for.</summary>
    public List<CheckFinding>? InOrder { get; set; }
}
