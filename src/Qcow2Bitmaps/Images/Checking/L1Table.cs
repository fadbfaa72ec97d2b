namespace Qcow2Bitmaps.Images.Checking;

/// <summary>An L1 table, and what was found in its entries.</summary>
internal sealed record L1Table(ulong Offset, uint Entries)
{
    /// <summary>How many snapshots share it; 1 for the active one.</summary>
    public long Times { get; set; }

    public bool IsActive { get; init; }

    /// <summary>By the entries' indices, ascending.</summary>
    public List<(int Index, List<CheckFinding> Held)> Findings { get; } = [];

    /// <summary>All findings of the table and of the L2 tables that it refers to, in order; null until requested.</summary>
    public List<CheckFinding>? InOrder { get; set; }
}
